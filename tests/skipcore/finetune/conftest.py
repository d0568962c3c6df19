"""Fine-tuning needs a newer transformers than the rest of the library."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import transformers
from packaging.version import Version

collect_ignore_glob = ["test_*.py"] if Version(transformers.__version__) < Version("5.23") else []


@pytest.fixture(autouse=True)
def fresh_accelerate() -> Iterator[None]:
    """A trainer that ends within an accumulated batch leaves a shared state in which no later optimizer steps."""
    yield
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
