"""What is known of an encoding travels with the features: several prefills may share them, in any order."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from skipcore.engine.changes import Changes
from skipcore.plan.tower_view import TowerView
from skipcore.tower.observer import TowerRecorder


@dataclass(frozen=True)
class Encoding:
    """What is known beside the features themselves.

    Attributes:
        given: what the encoder was given by name, pixels by their shapes alone.
        num_tokens: how many visual tokens the features are.
        tower: what a method saw of the vision tower; None where it saw nothing.
    """

    given: Mapping[str, Any]
    num_tokens: int
    tower: TowerView | None = None


def remember(features: Any, given: Mapping[str, Any], tower: TowerView | None = None) -> Encoding:
    """Let it travel with the features that an encoder made (a `ModelOutput` with a `pooler_output`)."""
    encoding = Encoding(without_contents(given), sum(map(len, features.pooler_output)), tower)
    features.skip_encoding = encoding
    return encoding


def remembered(features: Any) -> Encoding | None:
    """What is known of the encoding that made some features; None where nothing is."""
    return getattr(features, "skip_encoding", None)


def without_contents(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What the pictures of a prompt are found by, to be kept: pixels and embeddings by their shapes alone."""
    tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
    large = {name for name, value in tensors.items() if value.is_floating_point() and name != "attention_mask"}
    kept = {name: value.to("meta") if name in large else value for name, value in tensors.items()}
    return kept | {name: inputs[name] for name in ("mm_encoder_outputs",) if name in inputs}


class Encoders:
    """The encoders of a model in a session: what they are given is noted, and what a method sees of the tower.

    `generate()` encodes before the prefill and hands on features alone: what is known of them travels with them.

    Args:
        at_tower: what the method does around an encoding.

    Attributes:
        known: of the forward pass that runs, by "image" and "video".
    """

    def __init__(self, at_tower: Callable[[], AbstractContextManager[TowerRecorder | None]]) -> None:
        self._at_tower = at_tower
        self._running = False
        self.known: dict[str, Encoding] = {}

    def install(self, container: nn.Module, changes: Changes) -> None:
        """Watch the encoders of a base model."""
        for kind in ("image", "video"):
            if hasattr(container, name := f"get_{kind}_features"):
                changes.set([container], name, self._watched(kind, getattr(container, name)))

    def _watched(self, kind: str, encode: Callable) -> Callable:
        @functools.wraps(encode)
        def watched(*args: Any, **kwargs: Any) -> Any:
            if self._running:  # Qwen3-VL encodes a video as a picture
                return encode(*args, **kwargs)
            self._running = True
            try:
                with self._at_tower() as recorder:
                    features = encode(*args, **kwargs)
                if getattr(features, "pooler_output", None) is not None:
                    tower = None if recorder is None else recorder.rows()
                    self.known[kind] = remember(features, by_name(encode, args, kwargs), tower)
                return features
            finally:
                self._running = False

        return watched


def by_name(function: Callable, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """What a function is called with, by the names of its parameters."""
    return dict(zip(inspect.signature(function).parameters, args, strict=False)) | kwargs if args else kwargs
