"""Dense: the model as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from skipcore.engine.planner import Execution
from skipcore.methods.method import Method


@dataclass(frozen=True)
class Dense(Method):
    """Every visual token runs every layer and stays in the KV cache: the baseline."""

    name: ClassVar[str] = "Dense"

    @property
    def execution(self) -> Execution:
        """The model runs as it is."""
        return Execution(keeps_all=True)
