"""Memory that runs have freed, handed back to the system.

The C library keeps it for what comes next, in pieces that fit less and less: after some hundred runs tens of megabytes
lie idle. Handing them back takes two milliseconds, and the next run's warm-up, which fetches them again, ten.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


def hand_back_spare_memory() -> bool:
    """Hand it back; whether there was any. False where the C library does not know how: only glibc does."""
    trim = _malloc_trim()
    return trim is not None and bool(trim(0))


@cache
def _malloc_trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
