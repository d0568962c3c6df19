"""A progress bar with the time left, for work that is no training."""

from __future__ import annotations

import sys

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 30.0
"""How often a line is written where there is no terminal."""


def progress_bar(description: str, unit: str, total: int, done: int = 0, is_shown: bool = True) -> tqdm:
    """A bar on the terminal; elsewhere a line now and then; nothing where it is not to be shown."""
    seconds = 0.2 if sys.stderr.isatty() else SECONDS_BETWEEN_LINES
    return tqdm(
        desc=description,
        unit=unit,
        total=total,
        initial=done,
        mininterval=seconds,
        maxinterval=2 * seconds,
        disable=not is_shown,
    )
