"""Stops a forward pass between two layers: a long prefill ends when its answer is no longer wanted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


class _Stopped(Exception):
    """Carries a stop from inside a layer to the end of the `with` block."""


@contextmanager
def stops(model: nn.Module, stop: threading.Event) -> Iterator[None]:
    """Inside, a forward pass ends before the next layer of tower or decoder once `stop` is set; the block ends with it,
    quietly. Costs a look at a flag per layer.

    Args:
        model: whose forward passes end; hold its lock, since hooks act in every thread.
        stop: set it from anywhere.
    """

    def look(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        if stop.is_set():
            raise _Stopped

    handles = [layer.register_forward_pre_hook(look) for layer in _layers(model)]
    try:
        yield
    except _Stopped:
        pass
    finally:
        for handle in handles:
            handle.remove()


def _layers(model: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules in lists: the layers of every stack."""
    for child in model.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from _layers(child)
