"""The records of one model's race, put together: a row for every method at every budget."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from profiling.race.bisection import is_near
from profiling.race.intervals import Marks, paired_difference, wilson
from profiling.race.race_records import all_lines
from skipcore import InputError
from skipcore.json_lines import Line

OWN = "SkipVision"


@dataclass(frozen=True)
class Cost:
    """What a method costs: means over the timed prompts of the median of the timed runs.

    Attributes:
        flops: of the prefill, dense = 1.
        scoring_flops: the method's own choosing of tokens, as a share of the dense prefill's FLOPs.
        scoring_time: the time spent in its decisions, as a share of the dense prefill's.
        vision_ms, prefill_ms, tpot_ms: vision tower, prefill, and each further token.
        prefill_range_ms: fastest and slowest prefill of all runs.
        prefill_ratio: prefill time, dense = 1.
        kv_bytes: of the cache after prefill.
        peak_memory_bytes: the highest; None where it is not known.
    """

    flops: float
    scoring_flops: float
    scoring_time: float
    vision_ms: float
    prefill_ms: float
    prefill_range_ms: tuple[float, float]
    prefill_ratio: float
    tpot_ms: float
    kv_bytes: float
    peak_memory_bytes: int | None


@dataclass(frozen=True)
class Row:
    """A method at a budget on a data set.

    Attributes:
        method: its class.
        label: with its settings.
        budget: None for dense.
        flops: share of the dense prefill FLOPs, on the timed prompts, or else on those the settings were found on.
        is_at_budget: whether that is as good as equal to the budget.
        score: share of right answers; of answers equal to the dense model's where there is no truth.
        low, high: its 95% interval (Wilson).
        kl: mean KL(dense ‖ method) along dense answers, in nats.
        top1: share of their positions with the same likeliest token.
        same: share of answers equal to the dense model's.
        ahead: score minus Skip-Vision's at the same budget; None for Skip-Vision itself and without one.
        ahead_interval: half-width of the 95% interval of `ahead`, paired by question; None of one picture alone.
        on_front: no other row has a higher score for at most the FLOPs.
        cost: None where it was not measured.
    """

    method: str
    label: str
    settings: dict[str, Any]
    budget: float | None
    flops: float
    is_at_budget: bool
    score: float
    low: float
    high: float
    kl: float
    top1: float
    same: float
    ahead: float | None
    ahead_interval: float | None
    on_front: bool
    cost: Cost | None


@dataclass(frozen=True)
class DataResult:
    """All rows of a data set.

    Attributes:
        asked: questions that every method has answered; the figures are of those.
        questions: there are in all.
        blind: share of right answers of a guesser who does not look; None where there is no truth.
    """

    name: str
    asked: int
    questions: int
    pictures: int
    has_truth: bool
    blind: float | None
    rows: tuple[Row, ...]

    @property
    def budgets(self) -> list[float]:
        """The largest first."""
        return sorted({row.budget for row in self.rows if row.budget is not None}, reverse=True)

    def at(self, budget: float) -> list[Row]:
        """The rows of a budget, the best first."""
        return sorted((row for row in self.rows if row.budget == budget), key=lambda row: (-row.score, row.kl))

    @property
    def dense(self) -> Row:
        """What all are held against."""
        return next(row for row in self.rows if row.budget is None)


@dataclass(frozen=True)
class RaceResult:
    """One model's race.

    Attributes:
        skipping_source: where the model's way to skip comes from: "trained", "calibrated" or "untrained".
        timing: how times were taken; None where they were not.
        unavailable: why a figure is None throughout.
    """

    model: str
    model_sha256: str
    device: dict[str, Any]
    versions: dict[str, str]
    date: str
    skipping_source: str
    timing: dict[str, Any] | None
    unavailable: dict[str, str]
    data: tuple[DataResult, ...]
    sentences: dict[str, dict[str, str]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `skipcore.typed.read_json` reads them."""
        return asdict(self)


def read_race(output: Path) -> RaceResult:
    """Put together what all processes recorded.

    Args:
        output: the main process's file; those beside it are read too.

    Raises:
        InputError: there is no record, it is of several races, or nothing was asked yet.
    """
    return result_of(all_lines(output))


def result_of(lines: Sequence[Line]) -> RaceResult:
    """The result that recorded lines make; of what was recorded twice the last counts.

    Raises:
        InputError: nothing was asked yet.
    """
    header = lines[0]
    of_kind: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        of_kind[line["kind"]].append(line)
    choices = {(line["method"], line["budget"]): line for line in of_kind["choice"]}
    timed = list({(line["data"], line["prompt"]): line for line in of_kind["cost"]}.values())
    parts = {(line["data"], line["key"], line["chunk"]): line for line in of_kind["quality"]}
    data = {line["data"]: line for line in of_kind["data"]}
    results = [_data_result(line, list(choices.values()), parts, timed) for line in data.values()]
    asked = tuple(each for each in results if each is not None)
    if not asked:
        raise InputError("No question of the race was answered under every method yet: let the race go on first.")
    timing = None
    if timed:
        timing = {name: timed[-1][name] for name in ("device", "repeats", "date")} | {"prompts": len(timed)}
    return RaceResult(
        model=header["model"],
        model_sha256=header["model_sha256"],
        device=header["device"],
        versions=header["versions"],
        date=header["date"],
        skipping_source=header["skipping"]["source"],
        timing=timing,
        unavailable=timed[-1]["unavailable"] if timed else {},
        data=asked,
    )


def _data_result(
    data: Line, choices: Sequence[Line], parts: dict[tuple[str, str, int], Line], timed: Sequence[Line]
) -> DataResult | None:
    """The rows of a data set, over the chunks that every method has answered; None where there are none."""
    keys = {choice["key"] for choice in choices}
    chunks = {chunk for name, _, chunk in parts if name == data["data"]}
    common = sorted(chunk for chunk in chunks if all((data["data"], key, chunk) in parts for key in keys))
    if not common:
        return None
    of_key = {key: [parts[data["data"], key, chunk] for chunk in common] for key in keys}
    marks: dict[str, Marks] = {
        key: _marks(lines, "right" if data["has_truth"] else "same") for key, lines in of_key.items()
    }
    own = [line for line in timed if line["data"] == data["data"]]
    rows = [_row(choice, choices, of_key, marks, _cost(choice["key"], own)) for choice in choices]
    asked = sum(map(len, next(iter(marks.values()))))
    return DataResult(
        data["data"],
        asked,
        data["questions"],
        len(next(iter(marks.values()))),
        data["has_truth"],
        data["blind"],
        tuple(_with_front(rows)),
    )


def _row(
    choice: Line, choices: Sequence[Line], of_key: dict[str, list[Line]], marks: dict[str, Marks], cost: Cost | None
) -> Row:
    own, budget = marks[choice["key"]], choice["budget"]
    asked, right = sum(map(len, own)), sum(map(sum, own))
    lines = of_key[choice["key"]]
    same = _marks(lines, "same")
    flops = choice["flops"] if cost is None else cost.flops
    rival = next((each for each in choices if (each["method"], each["budget"]) == (OWN, budget)), None)
    ahead = ahead_interval = None
    if rival is not None and choice["method"] != OWN:
        ahead, ahead_interval = paired_difference(own, marks[rival["key"]])
    low, high = wilson(right, asked)
    return Row(
        method=choice["method"],
        label=choice["label"],
        settings=choice["settings"],
        budget=budget,
        flops=flops,
        is_at_budget=budget is None or is_near(flops, budget),
        score=right / asked,
        low=low,
        high=high,
        kl=sum(line["kl"] for line in lines) / asked,
        top1=sum(line["top1"] for line in lines) / asked,
        same=sum(map(sum, same)) / asked,
        ahead=ahead,
        ahead_interval=ahead_interval,
        on_front=False,
        cost=cost,
    )


def _marks(lines: Sequence[Line], name: str) -> list[list[bool]]:
    """ "1101 01" and so on → whether each question of each picture counts."""
    return [[mark == "1" for mark in picture] for line in lines for picture in line[name].split()]


def _with_front(rows: Sequence[Row]) -> list[Row]:
    """The rows, with those marked that none beats in score for at most their FLOPs."""

    def is_beaten(row: Row) -> bool:
        return any(
            (other.score > row.score and other.flops <= row.flops)
            or (other.score >= row.score and other.flops < row.flops)
            for other in rows
        )

    return [Row(**{**vars(row), "on_front": not is_beaten(row)}) for row in rows]


def _cost(key: str, timed: Sequence[Line]) -> Cost | None:
    """The mean over the prompts; None where one of them lacks the method."""
    own = [line["methods"].get(key) for line in timed]
    if not own or None in own:
        return None
    dense = [next(each for name, each in line["methods"].items() if name.startswith("Dense-")) for line in timed]

    def mean(name: str) -> float:
        return fmean(each[name] for each in own)

    spreads = [each["spread"]["prefill_ms"] for each in own]
    peaks = [each["peak_memory_bytes"] for each in own]
    pairs = list(zip(own, dense, strict=True))
    return Cost(
        flops=mean("flops_ratio"),
        scoring_flops=mean("scoring_flops_ratio"),
        scoring_time=fmean(each["scoring_ms"] / base["prefill_ms"] for each, base in pairs),
        vision_ms=mean("vision_ms"),
        prefill_ms=mean("prefill_ms"),
        prefill_range_ms=(min(each["min"] for each in spreads), max(each["max"] for each in spreads)),
        prefill_ratio=fmean(each["prefill_ms"] / base["prefill_ms"] for each, base in pairs),
        tpot_ms=mean("tpot_ms"),
        kv_bytes=mean("kv_bytes"),
        peak_memory_bytes=None if None in peaks else max(peaks),
    )
