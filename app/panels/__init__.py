"""The parts of the page, one file each: it lays out its components and says how they show a report."""

from __future__ import annotations

from typing import Any

# Components of the page with the values or updates they get.
Changes = dict[Any, Any]

# How every event but the API's is wired: the page itself shows its progress, and nobody else can call it.
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

# The same without a turn in line, for what takes no time.
AT_ONCE: dict[str, Any] = {"queue": False} | QUIET
