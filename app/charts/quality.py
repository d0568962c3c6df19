"""Measured accuracy of a model, read from a record of `python -m skipcore.builtin evaluate`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app import ASSETS
from skipcore import InputError, Vlm

RECORD = ASSETS / "results" / "quality.json"
COMMAND = "python -m skipcore.builtin evaluate --output assets/results/quality.json"


@dataclass(frozen=True)
class Score:
    """Shares of right answers, 0 to 1, in all and by kind of question."""

    accuracy: float
    by_kind: dict[str, float]


@dataclass(frozen=True)
class ArmScore:
    """How one method did on one split.

    Attributes:
        name: "Dense", "Skip-Vision 100+156".
        flops_ratio: FLOPs of its prefill over dense ones; None where they were not counted.
        num_retained, num_skipped: None for dense.
    """

    name: str
    score: Score
    flops_ratio: float | None
    num_retained: int | None = None
    num_skipped: int | None = None

    @property
    def label(self) -> str:
        """ "dense", "100 + 156" with spaces that do not break."""
        return (
            "dense"
            if self.num_retained is None
            else f"{self.num_retained}\N{NO-BREAK SPACE}+\N{NO-BREAK SPACE}{self.num_skipped}"
        )


@dataclass(frozen=True)
class SplitScores:
    """All methods on one split, and a guesser who does not look."""

    name: str
    questions: int
    pictures: int
    blind: Score
    arms: tuple[ArmScore, ...]

    @property
    def curve(self) -> list[ArmScore]:
        """The methods of a chart, the cheapest first: of several with the same counts (other retain rules) the first,
        and none whose FLOPs are not known."""
        first: dict[str, ArmScore] = {}
        for arm in self.arms:
            first.setdefault(arm.label, arm)
        return sorted(
            (arm for arm in first.values() if arm.flops_ratio is not None), key=lambda arm: arm.flops_ratio or 0
        )

    @property
    def columns(self) -> list[str]:
        """A heading for every method: its label, or its name where an earlier one has that label."""
        labels = [arm.label for arm in self.arms]
        return [arm.name if arm.label in labels[:number] else arm.label for number, arm in enumerate(self.arms)]


@dataclass(frozen=True)
class Quality:
    """A record of one model's accuracy."""

    model: str
    model_sha256: str
    device: str
    versions: str
    date: str
    splits: tuple[SplitScores, ...]


def read_quality(file: Path = RECORD) -> Quality | None:
    """The record, or None where there is none.

    Raises:
        InputError: the file is not such a record.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Quality(
            content["model"],
            content["model_sha256"],
            _device(content["device"]),
            _versions(content["versions"]),
            content["date"],
            tuple(_split(name, values) for name, values in content["splits"].items() if values["arms"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{file.name} is not a record of accuracy that can be read: write it anew with {COMMAND}."
        ) from error


def weights_sha256(vlm: Vlm) -> str | None:
    """SHA-256 of the model's `model.safetensors`; None for a model that was not loaded from a folder with one."""
    file = Path(vlm.model.name_or_path) / "model.safetensors"
    if not vlm.model.name_or_path or not file.is_file():
        return None
    with file.open("rb") as weights:
        return hashlib.file_digest(weights, "sha256").hexdigest()


def _split(name: str, values: dict[str, Any]) -> SplitScores:
    return SplitScores(
        name,
        int(values["questions"]),
        int(values["pictures"]),
        _score(values["blind"]),
        tuple(_arm(arm) for arm in values["arms"]),
    )


def _arm(values: dict[str, Any]) -> ArmScore:
    settings, ratio = values["settings"], values.get("flops_ratio")
    return ArmScore(
        values["name"],
        _score(values),
        None if ratio is None else float(ratio),
        settings.get("num_retained"),
        settings.get("num_skipped"),
    )


def _score(values: dict[str, Any]) -> Score:
    """A kind that was not asked has no accuracy and is left out."""
    by_kind = {kind: float(share) for kind, share in values["by_kind"].items() if share is not None}
    return Score(float(values["accuracy"]), by_kind)


def _device(device: str | dict[str, Any]) -> str:
    """ "NVIDIA H200, bfloat16", from one name or from a report's device facts."""
    if isinstance(device, str):
        return device
    return ", ".join(str(device[key]) for key in ("name", "dtype") if key in device)


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
