"""What a visitor can choose about a comparison."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from app.runs.offered_methods import OFFERED, OWN, SKIP_VISION, with_budget
from skipcore import InputError, Method, Vlm
from skipcore.methods import Combined
from skipcore.methods.retain import RETAIN_RULES

MAX_NEW_TOKENS = 256
MAX_REPEATS = 20


@dataclass(frozen=True)
class Settings:
    """The choices, as the controls of the page or the arguments of the API say them.

    Attributes:
        num_retained, num_skipped, retain, text_attends_skipped: of Skip-Vision; None: as the model has it
            (`Vlm.skip_vision`).
        method: what is compared with dense, see `chosen`.
        budget, then_skip_vision: of other methods than Skip-Vision.
        fixed_length: let every answer go on to `max_new_tokens`.
    """

    num_retained: int | float | None
    num_skipped: int | float | None
    retain: str | None
    text_attends_skipped: bool | None
    max_new_tokens: int
    repeats: int
    method: str | None = None
    budget: float | None = None
    then_skip_vision: bool = False
    fixed_length: bool = False

    @property
    def of_skip_vision(self) -> dict[str, Any]:
        """Skip-Vision's settings that are given, by name."""
        names = ("num_retained", "num_skipped", "retain", "text_attends_skipped")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @property
    def chosen(self) -> str:
        """The method as given; without one, Skip-Vision where a setting of it is given, or else the model's own."""
        return self.method or (SKIP_VISION if self.of_skip_vision else OWN)

    def compared(self, vlm: Vlm) -> Method:
        """The method that is compared with dense. Skip-Vision has the summary that the model was trained with if it
        carries one.

        Raises:
            InputError: a setting is impossible.
        """
        if self.chosen == OWN:
            return vlm.skipping
        changes = self.of_skip_vision
        if self.text_attends_skipped is False:
            changes["skip_kv"] = True  # keys and values that no text reads
        skipping = replace(vlm.skip_vision, **changes)
        if self.chosen == SKIP_VISION:
            return skipping
        first = with_budget(self.chosen, self.budget, vlm)
        return Combined(first, skipping) if self.then_skip_vision else first

    def check(self) -> None:
        """What the library does not check: types that only JSON can get wrong, and that a run stays short enough
        for the other visitors.

        Raises:
            InputError: a setting is impossible.
        """
        for name, value, most in (
            ("max_new_tokens", self.max_new_tokens, MAX_NEW_TOKENS),
            ("repeats", self.repeats, MAX_REPEATS),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise InputError(f"{name} must be a whole number from 1 to {most}.")
        if not isinstance(self.text_attends_skipped, bool | None) or not isinstance(self.then_skip_vision, bool):
            raise InputError("text_attends_skipped and then_skip_vision must be true or false.")
        if self.retain is not None and not (isinstance(self.retain, str) and self.retain in RETAIN_RULES):
            raise InputError(f"retain must be one of {', '.join(RETAIN_RULES)}.")
        if self.method is not None and not (isinstance(self.method, str) and self.method in (OWN, *OFFERED)):
            raise InputError(f"method must be one of {', '.join((OWN, *OFFERED))}.")
        if self.chosen in (OWN, SKIP_VISION) and (self.budget is not None or self.then_skip_vision):
            raise InputError(
                "budget and then_skip_vision are for other methods: name one of them as the method, such as FastV."
            )
        if self.chosen == OWN and self.of_skip_vision:
            raise InputError(
                f"The method {OWN!r} is the model's own, with its own settings: leave out "
                f"{', '.join(self.of_skip_vision)}, or set the method to {SKIP_VISION!r}."
            )
