"""Right or wrong: one answer, a tally of many, and the score they make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from skipcore.builtin.questions.questions import Question, is_right, named
from skipcore.errors import InputError
from skipcore.methods import Method


@dataclass(frozen=True)
class Answered:
    """A question, the answer given to it, and whether the answer must be right to the letter."""

    question: Question
    answer: str
    is_exact: bool = False

    @property
    def is_right(self) -> bool:
        """Whether the answer counts."""
        if self.is_exact:
            return self.answer.strip() == self.question.answer
        return is_right(self.question, self.answer)


@dataclass(frozen=True)
class Tally:
    """Counts over some answers; tallies add up.

    Attributes:
        asked, right: questions of each kind, and those answered rightly.
        items_named: sum over descriptions of the share of the picture's items that are named.
        nothing_absent: descriptions that name nothing that is not there.
    """

    asked: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    items_named: float = 0.0
    nothing_absent: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.asked + other.asked,
            self.right + other.right,
            self.items_named + other.items_named,
            self.nothing_absent + other.nothing_absent,
        )

    @property
    def accuracy(self) -> float:
        """The share of all questions answered rightly.

        Raises:
            InputError: nothing was asked.
        """
        if not self.asked:
            raise InputError("There is no score without a question: ask at least one.")
        return round(self.right.total() / self.asked.total(), 4)

    @property
    def by_kind(self) -> dict[str, float]:
        """The share answered rightly of each kind."""
        return {kind: round(self.right[kind] / number, 4) for kind, number in sorted(self.asked.items())}

    @property
    def descriptions(self) -> dict[str, float] | None:
        """Of the descriptions: how many, the mean share of items named, the share that names nothing absent."""
        number = self.asked["description"]
        if number == 0:
            return None
        return {
            "pictures": number,
            "items_named": round(self.items_named / number, 4),
            "nothing_absent": round(self.nothing_absent / number, 4),
        }

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "asked": dict(self.asked),
            "right": dict(self.right),
            "items_named": self.items_named,
            "nothing_absent": self.nothing_absent,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Tally:
        """What `to_dict` wrote."""
        return cls(Counter(values["asked"]), Counter(values["right"]), values["items_named"], values["nothing_absent"])


@dataclass(frozen=True)
class Score:
    """What a method reached: the share of questions answered rightly, in all and by kind.

    `name` is the method's label, such as "Skip-Vision 100+156". `descriptions` has "pictures",
    "items_named" and "nothing_absent"; None where nothing was to be described.
    """

    name: str
    settings: dict[str, Any]
    questions: int
    accuracy: float
    by_kind: dict[str, float]
    descriptions: dict[str, Any] | None

    @property
    def label(self) -> str:
        """The name with the retain rule, if it has one: "Skip-Vision 100+156 saliency"."""
        return f"{self.name} {self.settings.get('retain', '')}".rstrip()


def tally_of(answered: Iterable[Answered]) -> Tally:
    """Count answers."""
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    items_named, nothing_absent = 0.0, 0
    for each in answered:
        kind = each.question.kind
        asked[kind] += 1
        right[kind] += each.is_right
        if kind == "description":
            items, said = named(each.question.answer), named(each.answer)
            items_named += (items & said).total() / max(items.total(), 1)
            nothing_absent += not said - items
    return Tally(asked, right, items_named, nothing_absent)


def score_of(method: Method, tally: Tally) -> Score:
    """The score a tally makes.

    Raises:
        InputError: nothing was asked.
    """
    return Score(
        method.label,
        method.settings(),
        tally.asked.total(),
        tally.accuracy,
        tally.by_kind,
        tally.descriptions,
    )
