"""A race's result for people: tables at equal FLOPs, and a sentence for each that says who is ahead of whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from profiling.output.table import NOT_AVAILABLE
from profiling.race.results import OWN, Cost, DataResult, RaceResult, Row


def with_sentences(race: RaceResult) -> RaceResult:
    """The result with its sentences, by data set and budget ("0.25")."""
    sentences = {
        data.name: {f"{budget:g}": sentence_of(data, budget, race.skipping_source) for budget in data.budgets}
        for data in race.data
    }
    return replace(race, sentences=sentences)


def sentence_of(data: DataResult, budget: float, source: str) -> str:
    """Which methods are ahead of Skip-Vision at a budget, which behind, and which of it may be chance."""
    rows = data.at(budget)
    own = next((row for row in rows if row.method == OWN), None)
    start = f"At {percent(budget)} of the dense prefill FLOPs"
    if own is None:
        return f"{start} Skip-Vision was not measured."
    said = "is right in" if data.has_truth else "answers as the dense model in"
    trained = f" ({source} for this model)" if source != "untrained" else " (not trained for this model)"
    first = f"{start} Skip-Vision{trained} {said} {percent(own.score, 1)} of {data.asked:,} questions of {data.name}"
    first += "." if own.is_at_budget else f", but takes {percent(own.flops)}."
    peers = [row for row in rows if row.method != OWN and row.is_at_budget and row.ahead is not None]
    ahead = [row for row in peers if (row.ahead or 0) > 0]
    level = [row for row in peers if row.ahead == 0]
    behind = [row for row in reversed(peers) if (row.ahead or 0) < 0]
    parts = [first, *_ahead_and_behind(ahead, behind)]
    if level:
        parts.append(f"Level with it: {', '.join(row.label for row in level)}.")
    if apart := [f"{row.label} ({percent(row.flops)})" for row in rows if row.method != OWN and not row.is_at_budget]:
        parts.append(f"Not at this budget, so not compared: {', '.join(apart)}.")
    return " ".join(parts)


def _ahead_and_behind(ahead: Sequence[Row], behind: Sequence[Row]) -> list[str]:
    parts = []
    for word, rows in (("Ahead of it", ahead), ("Behind it", behind)):
        sure = [row for row in rows if row.ahead_interval is not None and abs(row.ahead or 0) > row.ahead_interval]
        maybe = [row for row in rows if row not in sure]
        if sure:
            parts.append(f"{word}, beyond the 95% interval: {', '.join(map(_difference, sure))}.")
        if maybe:
            parts.append(f"{word}, but within the interval: {', '.join(map(_difference, maybe))}.")
    return parts if ahead else ["No other method is ahead of it.", *parts]


def _difference(row: Row) -> str:
    points = 100 * (row.ahead or 0)
    interval = "" if row.ahead_interval is None else f" ± {100 * row.ahead_interval:.1f}"
    return f"{row.label} ({'+' if points > 0 else '−'}{abs(points):.1f}{interval} points)"


def markdown(race: RaceResult) -> str:
    """The whole report."""
    device = race.device
    lines = [
        f"# The race: {race.model}",
        "",
        f"Model sha256 {race.model_sha256[:12]}…, on {device['name']} ({device['kind']}, {device['dtype']}, "
        f"{device['threads']} CPU threads), {', '.join(f'{name} {each}' for name, each in race.versions.items())}; "
        f"{race.date}.",
        "",
        "Every question is asked alone and answered greedily; ± is Wilson's 95% interval. Differences are paired by "
        "question, with questions to one picture counted as one draw; each comparison is by itself. † marks what lies "
        "more than 2 points of the FLOPs away from the budget: layers are too coarse, or the budget is out of reach. "
        + _own_sentence(race.skipping_source),
        "",
        _timing_sentence(race),
    ]
    for data in race.data:
        lines += ["", f"## {data.name}", "", _data_sentence(data)]
        for budget in data.budgets:
            lines += ["", f"### {data.name} at {percent(budget)} of the prefill FLOPs", ""]
            lines += [race.sentences[data.name][f"{budget:g}"], ""]
            lines += _table([data.dense, *data.at(budget)], data, race.skipping_source)
        front = sorted((row for row in data.rows if row.on_front), key=lambda row: row.flops)
        points = ", ".join(f"{row.label} ({percent(row.flops, 1)}: {percent(row.score, 1)})" for row in front)
        lines += ["", f"On the Pareto front of {data.name}, cheapest first: {points}."]
    lines += ["", *(f"{name}: {NOT_AVAILABLE}, {reason}." for name, reason in race.unavailable.items()), ""]
    return "\n".join(lines)


def _own_sentence(source: str) -> str:
    return {
        "trained": "**Bold** is Skip-Vision with the summary and settings the model was trained with, its counts "
        "scaled; the model was not trained for any of the others, which are made for models as they are.",
        "calibrated": "**Bold** is Skip-Vision in the layers that calibration chose, its counts scaled.",
    }.get(
        source,
        "**Bold** is Skip-Vision as `SkipVision.untrained` sets it: the model was trained for none of the methods.",
    )


def _timing_sentence(race: RaceResult) -> str:
    if race.timing is None:
        return "Times and memory are not measured yet: run the race with one process."
    timing = race.timing
    return (
        f"Times: means over {timing['prompts']} prompts of the median of {timing['repeats']} interleaved runs after a "
        f"warm-up, in brackets fastest to slowest, on {timing['device']['name']}; {timing['date']}. Scoring is the "
        "method's own choice of tokens, as a share of the dense prefill: FLOPs of its matrix products, and time in its "
        "decisions."
    )


def _data_sentence(data: DataResult) -> str:
    what = f"{data.asked:,} questions to {data.pictures:,} pictures"
    if data.asked < data.questions:
        what += f", of {data.questions:,}: not all are answered yet"
    if not data.has_truth:
        return f"{what}; there are no true answers, so rows are held against the dense model's."
    return f"{what}; a blind guess is right in {percent(data.blind or 0, 1)}."


def _table(rows: Sequence[Row], data: DataResult, source: str) -> list[str]:
    head = [
        "method", "FLOPs", "right" if data.has_truth else "same answer", "KL, nats", "same top-1",
        *(["same answer"] if data.has_truth else []),
        "vision", "prefill", "per token", "KV cache", "peak memory", "scoring FLOPs", "scoring time",
    ]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return lines + ["| " + " | ".join(_cells(row, data.has_truth)) + " |" for row in rows]


def _cells(row: Row, has_truth: bool) -> list[str]:
    label = f"**{row.label}**" if row.method == OWN else row.label
    half = 50 * (row.high - row.low)
    cells = [
        label,
        percent(row.flops, 1) + ("" if row.is_at_budget else " †"),
        f"{100 * row.score:.1f} ± {half:.1f}%",
        f"{row.kl:.4f}",
        percent(row.top1, 1),
    ]
    return cells + ([percent(row.same, 1)] if has_truth else []) + _cost_cells(row.cost)


def _cost_cells(cost: Cost | None) -> list[str]:
    if cost is None:
        return ["not measured"] * 7
    low, high = cost.prefill_range_ms
    return [
        f"{cost.vision_ms:.1f} ms",
        f"{cost.prefill_ms:.1f} ms ({low:.1f}–{high:.1f})",
        f"{cost.tpot_ms:.2f} ms",
        f"{cost.kv_bytes / 1e6:.3g} MB",
        NOT_AVAILABLE if cost.peak_memory_bytes is None else f"{cost.peak_memory_bytes / 1e6:.3g} MB",
        percent(cost.scoring_flops, 2),
        percent(cost.scoring_time, 1),
    ]


def percent(share: float, digits: int = 0) -> str:
    """0.125 → "12.5%" with one digit; "12%" without."""
    return f"{100 * share:.{digits}f}%"


def summary_line(race: RaceResult) -> dict[str, Any]:
    """One flat record for machines: scores by data set, budget and method."""
    return {
        "race": race.model,
        "model_sha256": race.model_sha256,
        "device": race.device["name"],
        "date": race.date,
        "data": {
            data.name: {
                "questions": data.asked,
                "dense": round(data.dense.score, 4),
                **{
                    f"{budget:g}": {
                        row.method: {"score": round(row.score, 4), "flops": round(row.flops, 4), "at": row.is_at_budget}
                        for row in data.at(budget)
                    }
                    for budget in data.budgets
                },
            }
            for data in race.data
        },
    }
