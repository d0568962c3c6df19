"""The race of a model's methods at equal FLOPs, read from what `python -m profiling sweep-report` wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipcore import InputError

COMMAND = "python -m profiling sweep"


@dataclass(frozen=True)
class RaceRow:
    """One method at one budget.

    Attributes:
        method: its class; those of one class are a curve.
        label: with its settings.
        budget: share of the dense prefill FLOPs that was wanted; None for dense.
        flops: share reached.
        is_at_budget: whether that is as good as the budget.
        score, low, high: share of right answers (or of answers equal to the dense model's), and its 95% interval,
            None for a single question.
        kl, top1: agreement with the dense model: KL in nats, and the share of next tokens found likeliest by both.
        prefill_time, kv_bytes: over the dense ones. These four are None where they were not measured.
        ahead, ahead_interval: score beyond Skip-Vision's at the same budget, question by question, and its 95%
            interval; None where they are not compared.
    """

    method: str
    label: str
    budget: float | None
    flops: float
    is_at_budget: bool
    score: float
    low: float | None
    high: float | None
    kl: float | None = None
    top1: float | None = None
    prefill_time: float | None = None
    kv_bytes: float | None = None
    ahead: float | None = None
    ahead_interval: float | None = None

    @property
    def is_beyond_chance(self) -> bool:
        """Whether the difference from Skip-Vision is larger than its interval."""
        return self.ahead is not None and self.ahead_interval is not None and abs(self.ahead) > self.ahead_interval


@dataclass(frozen=True)
class RaceData:
    """All methods on one data set.

    Attributes:
        blind: share of right answers of a guess without looking; None where answers are neither right nor wrong.
        sentences: one for each budget, who is ahead of Skip-Vision and who is behind.
    """

    name: str
    asked: int
    has_truth: bool
    blind: float | None
    rows: tuple[RaceRow, ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Race:
    """A record of one model's race."""

    model_sha256: str
    device: str
    date: str
    data: tuple[RaceData, ...]


def read_race(file: Path) -> Race | None:
    """The record, or None where there is none.

    Raises:
        InputError: the file is not such a record.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        data = tuple(_data(values, content["sentences"][values["name"]]) for values in content["data"])
        return Race(content["model_sha256"], content["device"]["name"], content["date"], data)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{file.name} is not the record of a race that can be read: write it anew with {COMMAND}."
        ) from error


def _data(values: dict[str, Any], sentences: dict[str, str]) -> RaceData:
    rows = tuple(_row(row, _dense_kv_bytes(values["rows"])) for row in values["rows"])
    return RaceData(
        values["name"], values["asked"], values["has_truth"], values["blind"], rows, tuple(sentences.values())
    )


def _dense_kv_bytes(rows: list[dict[str, Any]]) -> float | None:
    return next((row["cost"]["kv_bytes"] for row in rows if row["method"] == "Dense" and row.get("cost")), None)


def _row(row: dict[str, Any], dense_kv_bytes: float | None) -> RaceRow:
    cost = row.get("cost") or {}
    kv_bytes = cost.get("kv_bytes")
    return RaceRow(
        **{name: row[name] for name in ("method", "label", "budget", "flops", "is_at_budget", "score", "low", "high")},
        kl=row.get("kl"),
        top1=row.get("top1"),
        prefill_time=cost.get("prefill_ratio"),
        kv_bytes=kv_bytes / dense_kv_bytes if kv_bytes is not None and dense_kv_bytes else None,
        ahead=row.get("ahead"),
        ahead_interval=row.get("ahead_interval"),
    )
