"""What every method is: a frozen dataclass of settings that decides, and a session that acts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import fields
from typing import Any, ClassVar, Literal, cast

from transformers import PreTrainedModel

from skipcore.plan import ImagePlan, VisualTokens
from skipcore.session import Session
from skipcore.summary import AdaptiveSummary


class Method(ABC):
    """A way to run a vision-language model.

    A subclass is a frozen dataclass. It holds its settings as fields and decides with `plan` what happens to the tokens
    of one picture. `method(model)` is a context manager that puts the method to work on a stock model and takes it away
    again.
    """

    name: ClassVar[str]
    keeps_all: ClassVar[bool] = False
    """Whether `plan` keeps every token of every picture: a session then lets the layers run unhooked, and plans when it
    is asked for a trace."""

    # What a session asks a method besides its plan; a subclass may make fields of them.
    text_attends_skipped: bool = True
    """Whether text attends to skipped tokens in prefill."""
    positions: Literal["original", "renumbered"] = "original"
    """"original": kept tokens keep their position ids; "renumbered": they are counted anew."""
    summary: AdaptiveSummary | None = None
    """The trained `AdaptiveSummary` for summary tokens; None for the mean."""

    @property
    def label(self) -> str:
        """The name with the settings that tell it from others of its kind."""
        return self.name

    @abstractmethod
    def plan(self, image: VisualTokens) -> ImagePlan:
        """Decide what happens to each visual token of one picture."""

    def __call__(self, model: PreTrainedModel, record: bool = False) -> Session:
        """A session of this method on `model`, to be used in a `with` statement.

        Args:
            model: a stock transformers vision-language model of a supported family.
            record: also measure the FFN update of every token in every layer.
        """
        return Session(self, model, record)

    def settings(self) -> dict[str, object]:
        """The settings as plain JSON values; the summary shows as "adaptive" or "mean"."""
        values = {field.name: getattr(self, field.name) for field in fields(cast(Any, self))}
        if "summary" in values:
            values["summary"] = "mean" if values["summary"] is None else "adaptive"
        return values
