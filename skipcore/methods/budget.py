"""How a method spends a budget: what a share means to it, and what its settings are chosen for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from skipcore.methods.settings import Count
from skipcore.model.inputs import ImageLike


@dataclass(frozen=True)
class Budget:
    """What a share from 0 to 1 means to a method.

    Attributes:
        usual: the share to begin with.
        means: what it is a share of, as a label.
        digits: decimals that count where something is learned for each share; None: all.
    """

    usual: float
    means: str = "Visual tokens kept"
    digits: int | None = None


class Examples(Protocol):
    """What methods may learn from without answers; see `skipcore.calibration.tuning`."""

    @property
    def vlm(self) -> Any: ...
    @property
    def pictures(self) -> Sequence[ImageLike]: ...
    @property
    def layers_by_contribution(self) -> Sequence[int]: ...
    def __hash__(self) -> int: ...


@dataclass(frozen=True)
class Target:
    """The model and the pictures that a method's settings are chosen for.

    Attributes:
        layers: of the decoder.
        tokens: visual tokens of a picture; None: unknown.
        is_fixed: whether every picture has that many: settings are counts of tokens then, and shares otherwise.
        examples: to learn from without answers; None: there are none.
    """

    layers: int
    tokens: int | None = None
    is_fixed: bool = False
    examples: Examples | None = None

    def count(self, share: float) -> Count:
        """A share of a picture's tokens as a setting; all of them are the share 1.0."""
        if self.tokens is None or not self.is_fixed:
            return share
        tokens = round(share * self.tokens)
        return tokens if tokens < self.tokens else 1.0

    def layer(self, of_32: float) -> int:
        """A layer that authors counted in 32, in this decoder; 1 at least."""
        return max(1, round(of_32 / 32 * self.layers))
