"""The trade-off of methods and budgets on one visitor's picture and question: one comparison after another."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from app.charts.race import RaceData, RaceRow
from app.runs.comparison import run
from app.runs.offered_methods import OFFERED, SKIP_VISION
from app.settings import Settings
from profiling import Report
from skipcore import InputError, Vlm

SHARES = (0.75, 0.5, 0.25, 0.12)
MAX_NEW_TOKENS, REPEATS = 24, 3
# Of the preset: of 256 tokens, 100 are retained.
USUAL_RETAINED = 100 / 256


@dataclass(frozen=True)
class Part:
    """One comparison of a trade-off."""

    method: str
    share: float

    @property
    def name(self) -> str:
        """ "FastV at 25%"."""
        return f"{OFFERED[self.method].name} at {self.share:.0%}"


def parts_of(methods: Sequence[str], shares: Sequence[float]) -> list[Part]:
    """Every method at every share, a round of all methods for each share, so that a run that is stopped early
    compares like with like.

    Raises:
        InputError: nothing that is offered was chosen.
    """
    parts = [Part(method, share) for share in SHARES if share in shares for method in OFFERED if method in methods]
    if not parts:
        raise InputError("Choose at least one method and one budget.")
    return parts


def settings_of(part: Part, chosen: Settings) -> Settings:
    """The settings of a part. Skip-Vision keeps the visitor's proportion of retained and skipped tokens."""
    short = replace(chosen, max_new_tokens=MAX_NEW_TOKENS, repeats=REPEATS, then_skip_vision=False)
    if part.method != SKIP_VISION:
        return replace(short, method=part.method, budget=part.share)
    total = (chosen.num_retained or 0) + (chosen.num_skipped or 0)
    retained = (chosen.num_retained or 0) / total if total > 0 else USUAL_RETAINED
    return replace(
        short,
        num_retained=part.share * retained,
        num_skipped=part.share * (1 - retained),
        method=SKIP_VISION,
        budget=None,
    )


def trade_off(
    vlm: Vlm, picture: Any, question: str, chosen: Settings, parts: Sequence[Part], stop: threading.Event
) -> Generator[tuple[Part, Report | None], None, None]:
    """(part, None) when one begins and (part, report) when it is done; ends early when `stop` is set.

    Raises:
        Refusal: see `app.runs.comparison.run`.
    """
    for part in parts:
        yield part, None
        with closing(run(vlm, picture, question, settings_of(part, chosen), stop)) as events:
            for event in events:
                if isinstance(event, Report):
                    yield part, event
        if stop.is_set():
            return


def rows_of(part: Part, report: Report) -> list[RaceRow]:
    """Dense, then the part's method."""
    arm = report.arms[1]
    saved, agreement = report.savings[arm.name], report.agreement[arm.name]
    dense = RaceRow("Dense", "Dense", None, 1.0, True, 1.0, None, None, 0.0, 1.0, 1.0, 1.0)
    own = RaceRow(
        method=part.method,
        label=arm.name,
        budget=part.share,
        flops=1 - saved.flops_prefill,
        is_at_budget=True,  # shares are of tokens or layers here, not of FLOPs
        score=float(agreement.first_difference is None),
        low=None,
        high=None,
        kl=agreement.kl,
        top1=agreement.top1,
        prefill_time=1 - saved.prefill_time,
        kv_bytes=1 - saved.kv_bytes,
    )
    return [dense, own]


def as_data(rows: Sequence[RaceRow]) -> RaceData:
    """What chart and table take; the dense row once."""
    return RaceData("this picture", False, None, tuple(dict.fromkeys(rows)), ())
