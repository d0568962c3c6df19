"""What is known of an encoding travels with the features: several prefills may share them, in any order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from skipcore.tower.tower_view import TowerView


@dataclass(frozen=True)
class Encoding:
    """Beside the features themselves.

    Attributes:
        given: what the encoder was given by name, pixels by their shapes alone.
        places: how many places of the prompts the features fill.
        tower: what a method saw of the vision tower; None where it saw nothing.
    """

    given: Mapping[str, Any]
    places: int
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
    """What tells where the pictures of a prompt stand, to be kept: pixels and embeddings by their shapes alone."""
    tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
    large = {name for name, value in tensors.items() if value.is_floating_point() and name != "attention_mask"}
    kept = {name: value.to("meta") if name in large else value for name, value in tensors.items()}
    return kept | {name: inputs[name] for name in ("mm_encoder_outputs",) if name in inputs}
