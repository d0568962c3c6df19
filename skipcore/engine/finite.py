"""Non-finite numbers are an error, never a figure: NaN would read as agreement, and its argmax as an answer.

What a model gives is checked on the device, where it is read anyway. Only when it is not finite the forward pass is run
once more, to find the module in which that began. Logits of −∞ are no error: some models pad their vocabulary by them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from skipcore.errors import InputError
from skipcore.families import decoder_layers
from skipcore.model.wrappers import stock_model


class _Found(Exception):
    """Carries the name of a module from its hook to the end of the forward pass."""


def all_finite(values: Any) -> Tensor:
    """Whether all floating-point numbers in tensors, or in lists and outputs of them, are finite: bool [], on their
    device, without waiting for it."""
    checks = [each.isfinite().all() for each in _tensors(values)]
    if not checks:
        return torch.tensor(True)
    return checks[0] if len(checks) == 1 else torch.stack([each.to(checks[0].device) for each in checks]).all()


def is_distribution(logits: Tensor) -> Tensor:
    """Whether each row of [..., vocabulary] is one of logits, −∞ allowed for some: bool [...], on their device."""
    return logits.amax(dim=-1).isfinite()  # NaN is the largest


def check_finite(model: PreTrainedModel, values: Any, again: Callable[[], object] | None = None) -> None:
    """Waits for the device.

    Args:
        model: that gave the values.
        again: runs the forward pass that gave them once more.

    Raises:
        InputError: a value is not finite; says in which dtype and where it began.
    """
    if not all_finite(values):
        raise not_finite(model, again)


def check_logits(model: PreTrainedModel, logits: Tensor, again: Callable[[], object] | None = None) -> None:
    """`check_finite` of logits [..., vocabulary], which may be −∞ but not in the whole of a row."""
    if not is_distribution(logits).all():
        raise not_finite(model, again)


def not_finite(model: PreTrainedModel, again: Callable[[], object] | None = None) -> InputError:
    """The error for numbers of a model that are not finite; see `check_finite`."""
    model = stock_model(model)
    dtype = str(model.dtype).removeprefix("torch.")
    where = None if again is None else first_not_finite(model, again)
    began = "" if where is None else f"; the first module whose output is not finite is {where}"
    advice = (
        'load it with dtype="bfloat16" or dtype="float32", whose range is larger'
        if model.dtype == torch.float16
        else "its weights may be damaged: fetch the model again"
    )
    return InputError(f"The model computes infinite numbers or NaN in {dtype}{began}: {advice}.")


def first_not_finite(model: PreTrainedModel, again: Callable[[], object]) -> str | None:
    """Where a forward pass first leaves the finite numbers, in words; None where it does not."""
    head = model.get_output_embeddings()

    def looking(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(module: nn.Module, args: Any, output: Any) -> None:
            if not (is_distribution(output).all() if module is head else all_finite(output)):
                raise _Found(name)

        return look

    with ExitStack() as hooks, torch.no_grad():
        for name, module in model.named_modules():
            if module is not model:
                hooks.callback(module.register_forward_hook(looking(name)).remove)
        try:
            again()
        except _Found as found:
            return _in_words(model, str(found))
        except (InputError, RuntimeError):  # such as a lack of memory: the error to report is another one
            return None
    return None


def _in_words(model: PreTrainedModel, name: str) -> str:
    """The part of the model that a module belongs to, with the module's name."""
    part_of = {module: part for part, module in _parts(model)}
    steps = name.split(".")
    around = [model.get_submodule(".".join(steps[:depth])) for depth in range(len(steps), 0, -1)]
    part = next((part_of[module] for module in around if module in part_of), None)
    return f"{name!r}" if part is None else f"{part} ({name!r})"


def _parts(model: PreTrainedModel) -> Iterator[tuple[str, nn.Module]]:
    """The parts of a vision-language model, in words."""
    decoder, tower, head = model.get_decoder(), model.get_encoder(modality="image"), model.get_output_embeddings()
    yield "the vision tower", tower
    for name, module in model.named_modules():
        if name.rsplit(".", 1)[-1] in ("multi_modal_projector", "connector", "merger", "embed_vision"):
            yield "the projector", module
    yield "the decoder", decoder
    yield "the token embeddings", model.get_input_embeddings()
    if head is not None:
        yield "the output head", head
    for number, layer in enumerate(decoder_layers(model)):
        yield f"layer {number} of the decoder", layer


def _tensors(values: Any) -> Iterator[Tensor]:
    """The floating-point tensors in a value."""
    if isinstance(values, Tensor):
        if values.is_floating_point():
            yield values
    elif isinstance(values, dict):
        for each in values.values():
            yield from _tensors(each)
    elif isinstance(values, list | tuple):
        for each in values:
            yield from _tensors(each)
