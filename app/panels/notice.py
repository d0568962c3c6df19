"""The line that says how a run goes."""

from __future__ import annotations

from html import escape


def status(sentence: str, *, failed: bool = False) -> str:
    """A line that screen readers read aloud when it changes."""
    return f'<p class="notice {"failed" if failed else "calm"}" role="status" aria-live="polite">{escape(sentence)}</p>'
