"""Hooks and attributes that modules have for a while, and that copies of the modules do not take along."""

from __future__ import annotations

import copy
import copyreg
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedConfig

_ABSENT = object()


@dataclass
class _Changed:
    """What was changed about one module.

    Attributes:
        handles: of the hooks that were registered.
        own: what the instance attributes that were set were before; `_ABSENT` where there was none.
    """

    handles: list[RemovableHandle] = field(default_factory=list)
    own: dict[str, Any] = field(default_factory=dict)

    def original(self, state: dict[str, Any]) -> dict[str, Any]:
        """A module's attributes without the changes."""
        numbers = {handle.id for handle in self.handles}
        references = [ref for handle in self.handles for ref in (handle.hooks_dict_ref, *handle.extra_dict_ref)]
        hooked = {id(reference()) for reference in references}
        found = {}
        for name, value in (state | self.own).items():
            if id(value) in hooked:
                found[name] = type(value)((number, hook) for number, hook in value.items() if number not in numbers)
            elif value is not _ABSENT:
                found[name] = value
        return found


_all_changed: WeakKeyDictionary[nn.Module, _Changed] = WeakKeyDictionary()


class Changes:
    """Changes to modules that are undone together.

    `copy.deepcopy`, `pickle` and `torch.save` find changed modules as they were before, at any depth of a model.
    """

    def __init__(self) -> None:
        self._handles: list[tuple[_Changed, RemovableHandle]] = []
        self._own: list[tuple[nn.Module, str, Any]] = []

    def before(self, module: nn.Module, hook: Callable, *, with_kwargs: bool = False) -> None:
        """Let `hook` run before the module does; see `nn.Module.register_forward_pre_hook`."""
        self._add(module, module.register_forward_pre_hook(hook, with_kwargs=with_kwargs))

    def after(self, module: nn.Module, hook: Callable, *, with_kwargs: bool = False, **options: bool) -> None:
        """Let `hook` run after the module did; see `nn.Module.register_forward_hook`, also for the other options."""
        self._add(module, module.register_forward_hook(hook, with_kwargs=with_kwargs, **options))

    def set(self, modules: Iterable[nn.Module], name: str, value: Any) -> None:
        """Give modules an attribute of their own instance."""
        for module in modules:
            own = vars(module).get(name, _ABSENT)
            _changed(module).own.setdefault(name, own)
            self._own.append((module, name, own))
            vars(module)[name] = value

    def undo(self) -> None:
        """Leave the modules as they were."""
        for changed, handle in self._handles:
            handle.remove()
            changed.handles.remove(handle)
        for module, name, own in reversed(self._own):
            if own is _ABSENT:
                vars(module).pop(name, None)
            else:
                vars(module)[name] = own
            if _changed(module).own.get(name) is own:
                del _changed(module).own[name]
        self._handles.clear()
        self._own.clear()

    def _add(self, module: nn.Module, handle: RemovableHandle) -> None:
        changed = _changed(module)
        changed.handles.append(handle)
        self._handles.append((changed, handle))


def _changed(module: nn.Module) -> _Changed:
    if (changed := _all_changed.get(module)) is None:
        changed = _all_changed[module] = _Changed()
        if type(module) not in copyreg.dispatch_table:  # where copy and pickle look before the module itself
            copyreg.pickle(type(module), _reduce)
    return changed


def _reduce(module: nn.Module) -> tuple[Any, ...]:
    """What a copy of a module is made from; as ever where the module is unchanged."""
    reduced: Any = module.__reduce_ex__(4)
    function, arguments, state, *rest = reduced
    changed = _all_changed.get(module)
    return function, arguments, state if changed is None else changed.original(state), *rest


def attend_by(name: str, module: nn.Module, config: PreTrainedConfig, changes: Changes) -> None:
    """Let whatever in `module` shares a config find a copy of it that names another attention implementation.

    The config itself stays as it is, for it is shared with other parts and with those who read it.
    """
    copied: Any = copy.copy(config)
    copied._attn_implementation = name
    changes.set([each for each in module.modules() if vars(each).get("config") is config], "config", copied)
