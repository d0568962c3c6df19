"""The one error that every entry of the library raises for bad input."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input from a user. Its message is one plain sentence that says what to change."""
