"""What the tests of training share: a tokenizer that is learned once, and the folder of a tiny random model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def quick_training() -> Iterator[None]:
    """One thread, as on tiny tensors threads would rather wait for each other; the tokenizer is learned once."""
    from training_runs import one_thread, tokenizer

    from skipcore.builtin.training import runs

    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.setattr(runs, "build_tokenizer", tokenizer)
        yield


@pytest.fixture(scope="module")
def start(quick_training: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random model."""
    from tiny_training import model_folder

    return model_folder(tmp_path_factory.mktemp("models") / "start")
