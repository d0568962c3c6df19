"""Which models are loaded: the first one for good, and one more beside it while somebody uses it.

Each visitor chooses among them and disturbs nobody; all runs take turns on the device.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.page_model import PageModel
from app.server.device import device_held
from app.server.fetching import fetch, folder_of, size
from app.server.models import BUILT_IN, BUILT_IN_FOLDER, GIB, KnownModel, address_of
from app.server.pace import ahead
from app.server.refusals import release_memory
from skipcore import InputError, Vlm
from skipcore import load as load_model
from skipcore.model.hardware import free_bytes
from skipcore.model.load import default_device

RESERVE_GIB = 1
"""Memory that stays free beside the weights."""
MOST_LEFT = 1_000
"""Sessions that have left, of which so many are remembered: an event of theirs may still be under way."""


class ModelPool:
    """Loads, lends and unloads the models that visitors choose.

    Args:
        first: the model that is there from the start.
        device: of the models; see `skipcore.load`.
        known: the only models that can be loaded beside the first; none where it is the only one.

    Attributes:
        before_unload: called when nothing runs any more, to free what hangs on the model.
    """

    def __init__(self, first: Vlm, device: str | None = None, known: Sequence[KnownModel] = ()) -> None:
        self.first = PageModel.of(first)
        self.before_unload: list[Callable[[], None]] = []
        self._known = {model.name: model for model in known if model.name != self.first.name}
        self._device = device
        self._other: PageModel | None = None
        self._users: set[str] = set()  # sessions that have chosen the other model
        self._runs: set[object] = set()  # on the other model, also of clients without a session of the page
        self._left: deque[str] = deque(maxlen=MOST_LEFT)
        self._changing = threading.Lock()

    @property
    def names(self) -> list[str]:
        """Of the models that can be loaded beside the first."""
        return list(self._known)

    @property
    def loaded(self) -> dict[str, PageModel]:
        """The loaded models by name, the first one first."""
        return {model.name: model for model in (self.first, self._other) if model is not None}

    @property
    def addresses(self) -> dict[str, str]:
        """Where the page opens with each loaded model."""
        return {name: "/" if name == self.first.name else address_of(name) for name in self.loaded}

    def get(self, name: str | None = None) -> PageModel:
        """Return a loaded model; default: the first.

        Raises:
            InputError: it is not loaded.
        """
        model = self.first if name is None else self.loaded.get(name) if isinstance(name, str) else None
        if model is None:
            raise InputError(f"This model is not loaded: choose one of {', '.join(self.loaded)}, or load it first.")
        return model

    def choose(self, name: str, session: str) -> PageModel:
        """Lend a loaded model to a visitor until they choose another or leave.

        Raises:
            InputError: it is not loaded.
        """
        model = self.get(name)
        self._users.discard(session)
        if model is not self.first and session not in self._left:
            self._users.add(session)
        return model

    def leave(self, session: str) -> None:
        """Take back what was lent to a visitor who has left."""
        self._left.append(session)
        self._users.discard(session)

    @contextmanager
    def running(self, name: str | None = None) -> Iterator[PageModel]:
        """Inside, a run uses the model, so that it is not unloaded.

        Raises:
            InputError: it is not loaded.
        """
        model, run = self.get(name), object()
        if model is not self.first:
            self._runs.add(run)
        try:
            yield model
        finally:
            self._runs.discard(run)

    def fetch(self, name: str, session: str, stop: threading.Event) -> Generator[str, None, None]:
        """Have a model's files on this machine; yields sentences of progress.

        Args:
            session: of the visitor who asks for it.
            stop: ends it soon; what has arrived stays.

        Raises:
            InputError: the model is not in the list, cannot be had or does not fit, or another is in use.
        """
        if self._is_loaded(name):
            return
        model = self._listed(name)
        with _one_at_a_time(self._changing):
            self._check_unused(session)
            self._check_memory(model)
            yield f"Looking for the files of {name}…"
            for arrived, missing in fetch(name, stop) if name != BUILT_IN else ():
                yield f"Fetching {name}: {size(arrived)} of {size(missing)}…"

    def load(self, name: str, session: str) -> None:
        """Load a model that was fetched, in the place of the other one.

        Raises:
            InputError: the model is not in the list or cannot be loaded, or another is in use.
        """
        if self._is_loaded(name):
            return
        self._listed(name)
        with _one_at_a_time(self._changing):
            folder = BUILT_IN_FOLDER if name == BUILT_IN else folder_of(name)
            self._remove(session)
            [self._other] = ahead(self._made(name, folder), threading.Event())

    def unload(self, session: str) -> str:
        """Unload the model beside the first, and free its memory; returns its name.

        Raises:
            InputError: there is none, or another visitor uses it.
        """
        with _one_at_a_time(self._changing):
            if self._other is None:
                raise InputError("No other model is loaded; the first one stays.")
            name = self._other.name
            self._check_unused(session)
            self._remove(session)
            return name

    def _is_loaded(self, name: Any) -> bool:
        return isinstance(name, str) and name in self.loaded

    def _listed(self, name: Any) -> KnownModel:
        model = self._known.get(name) if isinstance(name, str) else None
        if model is None:
            raise InputError("Choose one of the models in the list.")
        return model

    def _check_memory(self, model: KnownModel) -> None:
        """Before anything is fetched. The other model's memory is free by then."""
        if self._device == "auto":  # accelerate spreads it, also over the disk
            return
        device = default_device(self._device)
        bytes_each = 2 if device.type == "cuda" else 4
        other = 0 if self._other is None else sum(each.nbytes for each in self._other.vlm.model.parameters())
        most = max(0, free_bytes(device) + other - RESERVE_GIB * GIB) / bytes_each
        if model.weights > most:
            raise InputError(
                f"{model.name} takes {model.weights * bytes_each / GIB:.1f} GiB of memory, and {RESERVE_GIB} GiB must "
                f"stay free for pictures and answers: load it elsewhere, or choose a model of at most {most / 1e9:.1f} "
                "billion weights."
            )

    def _check_unused(self, session: str) -> None:
        if self._other is not None and (self._users - {session} or self._runs):
            raise InputError(
                f"{self._other.name} is in use: one more model fits beside the first, and somebody has chosen it. "
                "Use that, or come back when they have left."
            )

    def _remove(self, session: str) -> None:
        """Free the other model's memory, while nothing runs on it."""
        with device_held():
            self._check_unused(session)  # once more: somebody may have come meanwhile
            other, self._other = self._other, None
            self._users.clear()
            if other is None:
                return
            for free in self.before_unload:
                free()
            # Visitors' conversations may hold the model for long; what is large of it goes now.
            if not hasattr(other.vlm.model, "hf_device_map"):  # accelerate does not let go of what it has spread
                other.vlm.model.to("meta")
            release_memory()

    def _made(self, name: str, folder: Path) -> Generator[PageModel, None, None]:
        yield PageModel.of(replace(load_model(folder, device=self._device), name=name))


@contextmanager
def _one_at_a_time(lock: threading.Lock) -> Iterator[None]:
    if not lock.acquire(blocking=False):
        raise InputError("Another model is just being loaded or unloaded: try again when that is done.")
    try:
        yield
    finally:
        lock.release()
