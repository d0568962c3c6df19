"""The record of the claim, as JSON holds it: what each way to train took, and what it reached."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from skipcore.builtin.evaluation.quality_record import Asked
from skipcore.builtin.evaluation.scores import Score
from skipcore.builtin.training.recipe import Skipping


@dataclass(frozen=True)
class StepSeconds:
    """Times of an arm's warm steps: mean, quantiles, and how many there were."""

    mean: float
    median: float
    p10: float
    p90: float
    steps: int


@dataclass(frozen=True)
class ArmResult:
    """One arm; what ends in "percent" has dense = 100.

    Attributes:
        name, title, skipping: see `Arm`.
        flops_per_step, decoder_flops_per_step: forward and backward, of everything and of the decoder.
        peak_memory_bytes: None on the CPU.
        last_loss: mean over the last steps.
        evaluated: a score for each method that the arm's weights were asked under.
    """

    name: str
    title: str
    skipping: Skipping
    step_seconds: StepSeconds
    flops_per_step: int
    decoder_flops_per_step: int
    peak_memory_bytes: int | None
    last_loss: float
    evaluated: tuple[Score, ...]
    time_percent: float | None = None
    mean_time_percent: float | None = None
    flops_percent: float | None = None
    decoder_flops_percent: float | None = None
    peak_memory_percent: float | None = None


@dataclass(frozen=True)
class ClaimSplit(Asked):
    """What the arms were asked."""

    name: str


@dataclass(frozen=True)
class Claim:
    """The whole record. `skipcore.typed.read_json` reads what `to_dict` gives.

    Attributes:
        start_sha256: of the weights that all arms started with.
        notes: sentences about what was not measured.
    """

    recipe: str
    steps: int
    pictures_per_step: int
    questions_per_picture: int
    start_sha256: str | None
    device: dict[str, Any]
    versions: dict[str, str]
    date: str
    split: ClaimSplit
    arms: tuple[ArmResult, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)
