"""Pictures and questions that methods learn from before they run, without answers, as their authors do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from skipcore.calibration.contribution import layer_contributions
from skipcore.model.inputs import ImageLike
from skipcore.model.vlm import Vlm


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples for one model.

    Attributes:
        vlm: the model.
        pictures: like those that will be asked about.
        questions: one for each picture.
    """

    vlm: Vlm
    pictures: Sequence[ImageLike]
    questions: Sequence[str]

    @cached_property
    def layers_by_contribution(self) -> tuple[int, ...]:
        """The decoder's layers by rising contribution, measured when first asked for; see `layer_contributions`."""
        found = layer_contributions(self.vlm, self.pictures, self.questions)
        return tuple(sorted(range(len(found)), key=found.__getitem__))
