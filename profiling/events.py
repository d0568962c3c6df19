"""Events that a comparison yields while it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from PIL import Image

from skipcore import Trace
from skipcore.model.vlm import ShownTile


@dataclass(frozen=True)
class Encoding:
    """The picture is about to be encoded."""


@dataclass(frozen=True)
class Started:
    """The picture is encoded and the arms are about to run.

    Attributes:
        arms: names of the arms, in order.
        pictures: every picture.
        tiles: of each picture.
        vision_ms: time of the vision tower and projector, the first time.
    """

    arms: tuple[str, ...]
    pictures: tuple[Image.Image, ...]
    tiles: tuple[tuple[ShownTile, ...], ...]
    vision_ms: float


@dataclass(frozen=True)
class Traced:
    """An arm's recording run has ended: what happens to every token."""

    arm: int
    trace: Trace


@dataclass(frozen=True)
class Progress:
    """A timed run begins: number `run` (from 1) of `runs`, by arm `arm`.

    Attributes:
        vision_ms: time of the vision tower and projector by now, the median.
    """

    arm: int
    run: int
    runs: int
    vision_ms: float


@dataclass(frozen=True)
class NewText:
    """An arm's first timed run made a token. One plus the next of the same run is both in one.

    Attributes:
        text: what it adds to the answer.
        new_tokens: tokens made so far.
        prefill_ms: of this run.
        tpot_ms: of this run so far; None before the second token.
    """

    arm: int
    text: str
    new_tokens: int
    prefill_ms: float
    tpot_ms: float | None

    def __add__(self, later: NewText) -> NewText:
        return replace(later, text=self.text + later.text)


Event = Encoding | Started | Traced | Progress | NewText
