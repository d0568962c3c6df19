"""What methods learn from pictures before they run, without answers, each as its authors do."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from skipcore import Vlm
from skipcore.calibration.contribution import layer_contributions
from skipcore.methods.dymu import DyMU
from skipcore.methods.spider import SPIDER
from skipcore.model.inputs import ImageLike

DIGITS = 5
"""To which DyMU's thresholds are rounded, so that every machine finds the same."""


class Tuning:
    """Tunes when asked, once.

    Args:
        vlm: to tune for; its own calibration, if it has one, is used too.
        pictures, questions: to tune on; as many of each.
    """

    def __init__(self, vlm: Vlm, pictures: Sequence[ImageLike], questions: Sequence[str]) -> None:
        self._vlm = vlm
        self._pictures = pictures
        self._questions = questions
        self._dymu: dict[float, DyMU] = {}

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """ShortV's: by rising contribution."""
        found = layer_contributions(self._vlm, self._pictures, self._questions)
        return tuple(sorted(range(len(found)), key=found.__getitem__))

    @cached_property
    def spider(self) -> SPIDER:
        """SPIDER with the sub-layer contributions of the model's calibration; without one, as it comes."""
        calibration = self._vlm.calibration
        return SPIDER() if calibration is None else SPIDER.calibrated(calibration)

    def dymu(self, share: float) -> DyMU:
        """DyMU with thresholds that leave a share of the patches."""
        if share not in self._dymu:
            found = DyMU.find(self._vlm, self._pictures, share)
            self._dymu[share] = DyMU([round(value, DIGITS) for value in found.thresholds])
        return self._dymu[share]
