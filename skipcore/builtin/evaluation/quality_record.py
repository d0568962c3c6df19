"""The record of a model's quality: accuracy of every method beside its FLOPs and a blind guesser, as JSON holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from skipcore.builtin.evaluation.asked import AskedPicture
from skipcore.builtin.evaluation.scores import Tally


@dataclass(frozen=True)
class Accuracy:
    """Shares of right answers, 0 to 1.

    Attributes:
        accuracy: of all questions.
        by_kind: of each kind of question; None for one that was not asked.
    """

    accuracy: float
    by_kind: dict[str, float | None]


@dataclass(frozen=True)
class ArmScore:
    """One method on a split.

    Attributes:
        name, settings: of the method.
        accuracy, by_kind: as in `Accuracy`.
        descriptions: as in `Score`.
        flops_prefill: of the prefill of a typical question.
        flops_ratio: the same over those of the dense prefill; None where they were not counted.
    """

    name: str
    settings: dict[str, Any]
    accuracy: float
    by_kind: dict[str, float | None]
    descriptions: dict[str, Any] | None
    flops_prefill: int
    flops_ratio: float | None

    @property
    def label(self) -> str:
        """The name with the retain rule, if it has one: "Skip-Vision 100+156 saliency"."""
        return f"{self.name} {self.settings.get('retain', '')}".rstrip()


@dataclass(frozen=True)
class Asked:
    """What was asked of a split, and what a guesser who does not look reaches."""

    questions: int
    pictures: int
    questions_by_kind: dict[str, int]
    blind: Accuracy

    @classmethod
    def of(cls, pictures: Sequence[AskedPicture], blind: Tally) -> dict[str, Any]:
        """The fields of the questions to some pictures, and of the guesser's tally."""
        return {
            "questions": blind.asked.total(),
            "pictures": len(pictures),
            "questions_by_kind": dict(sorted(blind.asked.items())),
            "blind": Accuracy(blind.accuracy, dict(blind.by_kind)),
        }


@dataclass(frozen=True)
class SplitQuality(Asked):
    """All methods on one split."""

    arms: tuple[ArmScore, ...]


@dataclass(frozen=True)
class Quality:
    """All splits. `skipcore.typed.read_json` reads what `to_dict` gives.

    Attributes:
        world: how many "things" scenes could hold, and "most_items" at once.
        splits: by name.
    """

    model: str
    model_sha256: str
    device: dict[str, Any]
    versions: dict[str, str]
    date: str
    world: dict[str, int]
    splits: dict[str, SplitQuality]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)
