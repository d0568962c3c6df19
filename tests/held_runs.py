"""Runs on a model that wait until a test lets them go on, and count the layers they get through."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from skipcore import Vlm
from skipcore.families import decoder_layers

LONGEST = 60
"""Seconds that anything waits before a test that hangs goes on and fails."""


@dataclass
class Run:
    """One run, which is one thread that calls the model.

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
    by_thread: dict[threading.Thread, Run] = field(default_factory=dict)
    begun: SimpleQueue[Run] = field(default_factory=SimpleQueue)

    def next(self) -> Run:
        """Wait for the next run to have run its first layer."""
        return self.begun.get(timeout=LONGEST)

    def after_a_layer(self, *_: Any) -> None:
        """Hook of every layer."""
        thread = threading.current_thread()
        if thread not in self.by_thread:
            self.by_thread[thread] = Run()
            if len(self.by_thread) > self.held:
                self.by_thread[thread].go_on.set()
            self.begun.put(self.by_thread[thread])
        run = self.by_thread[thread]
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
        for run in all_runs.by_thread.values():
            run.go_on.set()
        for handle in handles:
            handle.remove()
