"""Whatever fails in a visitor's run, as one plain sentence without any detail of the server."""

from __future__ import annotations

import gc
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from skipcore import InputError
from skipcore.errors import is_out_of_memory

OUT_OF_MEMORY = (
    "The device has too little memory for this run: take a smaller picture or a smaller max_new_tokens, and ask again."
)
UNEXPECTED = "Something went wrong while running the model; try again, or try other settings."

log = logging.getLogger(__name__)


class Refusal(Exception):
    """What a visitor reads instead of an answer: one plain sentence without any detail of the server."""


@contextmanager
def refusing() -> Iterator[None]:
    """Inside, every failure becomes a `Refusal`: bad input by its own sentence, a lack of memory by one that says what
    to ask for, and anything unexpected, which is logged, by one that says no more.

    Raises:
        Refusal: see above.
    """
    try:
        yield
    except Refusal:
        raise
    except InputError as error:
        raise Refusal(str(error)) from error
    except Exception as error:
        if is_out_of_memory(error):
            log.warning("A run had too little memory: %s", error)
            traceback.clear_frames(error.__traceback__)  # they hold what the run had made so far
            release_memory()
            raise Refusal(OUT_OF_MEMORY) from None
        log.exception("A run failed")
        raise Refusal(UNEXPECTED) from error


def release_memory() -> None:
    """Give back what nobody holds any more, so that the next run finds the device as it was."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
