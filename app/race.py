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
        score, low, high: share of right answers (or of answers equal to the dense model's), and its 95 % interval.
    """

    method: str
    label: str
    budget: float | None
    flops: float
    is_at_budget: bool
    score: float
    low: float
    high: float


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
    rows = tuple(RaceRow(**{name: row[name] for name in RaceRow.__annotations__}) for row in values["rows"])
    return RaceData(
        values["name"], values["asked"], values["has_truth"], values["blind"], rows, tuple(sentences.values())
    )
