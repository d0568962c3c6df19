"""The one error that every entry of the library raises for bad input, and how to recognize a lack of memory."""

from __future__ import annotations

import torch


class InputError(ValueError):
    """Bad input from a user. Its message is one plain sentence that says what to change."""


class OutOfMemory(MemoryError):
    """A lack of memory, with a sentence that says what to change."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU, the CPU's allocator or Python itself had no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and ("not enough memory" in said or "out of memory" in said)
