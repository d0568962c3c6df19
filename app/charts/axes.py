"""What the axes of a trade-off can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.charts.race import RaceRow


@dataclass(frozen=True)
class Axis:
    """One quantity of a method.

    Attributes:
        title: beside the axis, unit included.
        short: in the head of a table.
        of: its value in the unit of the axis; None where it was not measured.
        suffix: of the ticks.
        digits: after the point, in text.
    """

    title: str
    short: str
    of: Callable[[RaceRow], float | None]
    suffix: str = " %"
    digits: int = 1

    def text(self, row: RaceRow) -> str:
        """The value in words; a dash where there is none."""
        value = self.of(row)
        return "–" if value is None else f"{value:.{self.digits}f}{self.suffix}"


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


COSTS = {
    "flops": Axis("prefill FLOPs, % of dense", "prefill FLOPs", lambda row: 100 * row.flops),
    "time": Axis("prefill time, % of dense", "prefill time", lambda row: _percent(row.prefill_time)),
    "kv": Axis("KV cache, % of dense", "KV cache", lambda row: _percent(row.kv_bytes)),
}
ACCURACY = Axis("right answers, %", "right answers", lambda row: 100 * row.score)
SAME = Axis("answers as the dense model, %", "answers as the dense model", lambda row: 100 * row.score)
AGREEMENT = {
    "top1": Axis("likeliest next token as dense, %", "likeliest token as dense", lambda row: _percent(row.top1)),
    "kl": Axis("KL to dense, nats (lower is nearer)", "KL to dense", lambda row: row.kl, "", 4),
}


def score_axis(name: str, has_truth: bool) -> Axis:
    """The axis of a dropdown's value: "score" is accuracy where there are true answers, or else sameness."""
    return AGREEMENT.get(name, ACCURACY if has_truth else SAME)
