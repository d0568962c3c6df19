"""Dense: the model as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from skipcore.methods.method import Method


@dataclass(frozen=True)
class Dense(Method):
    """Every visual token runs every layer and stays in the KV cache: the baseline."""

    name: ClassVar[str] = "Dense"
    keeps_all: ClassVar[bool] = True
