"""Runs on a model that wait until a test lets them go on, and count the layers they get through."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from skipcore import Vlm
from skipcore.families import decoder_layers

LONGEST = 60
"""Seconds that anything waits before a test that hangs goes on and fails."""


@dataclass
class Run:
    """One run: all that calls the model in one context, see `contextvars`.

    Attributes:
        layers: of the decoder that it has run so far, in all its passes.
        go_on: it waits after each layer until this is set.
    """

    layers: int = 0
    go_on: threading.Event = field(default_factory=threading.Event)


@dataclass
class Runs:
    """All runs on a model in the order of their beginning."""

    held: int
    all: list[Run] = field(default_factory=list)
    here: ContextVar[Run] = field(default_factory=lambda: ContextVar("run"))
    begun: SimpleQueue[Run] = field(default_factory=SimpleQueue)

    def next(self) -> Run:
        """Wait for the next run to have run its first layer."""
        return self.begun.get(timeout=LONGEST)

    def after_a_layer(self, *_: Any) -> None:
        """Hook of every layer."""
        run = self.here.get(None)
        if run is None:
            run = Run()
            self.here.set(run)
            self.all.append(run)
            if len(self.all) > self.held:
                run.go_on.set()
            self.begun.put(run)
        run.layers += 1
        run.go_on.wait(LONGEST)


@contextmanager
def held(vlm: Vlm, runs: int = 1) -> Iterator[Runs]:
    """Inside, the first so many runs wait after their first layer; later ones are only counted."""
    all_runs = Runs(runs)
    handles = [layer.register_forward_hook(all_runs.after_a_layer) for layer in decoder_layers(vlm.model)]
    try:
        yield all_runs
    finally:
        for run in all_runs.all:
            run.go_on.set()
        for handle in handles:
            handle.remove()
