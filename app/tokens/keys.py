"""Keys of the charts and of the token overlay, as HTML that wraps and follows the theme."""

from __future__ import annotations

from html import escape

from app.charts import palette
from app.tokens.marks import Mark
from profiling import Report
from skipcore import Role

ROLE_NAMES = {Role.TEXT: "text", Role.RETAINED: "retained", Role.SUMMARY: "summary", Role.SKIPPED: "skipped"}


def keys(*entries: tuple[str, str]) -> str:
    """(class of the swatch in theme.css, what it stands for), in a row."""
    items = "".join(f'<li><span class="key {swatch}"></span>{escape(name)}</li>' for swatch, name in entries)
    return f'<ul class="keys">{items}</ul>'


def swatch(mark: Mark) -> str:
    """The classes of a mark's swatch in theme.css."""
    if mark.merged:
        return "merged"
    more = " leaves" * mark.leaves_cache + " halted" * mark.halted
    return mark.state.name.lower().replace("_", "-") + more


def arm_keys(report: Report) -> list[tuple[str, str]]:
    """A swatch for every arm."""
    return [(f"arm-{number}", arm.name) for number, arm in enumerate(report.arms)]


def ramp(scale: tuple[float, float]) -> str:
    """The colors of the FFN update between the ends of their scale."""
    low, high = scale
    colors = ", ".join(palette.RAMP)
    return (
        f'<p class="ramp"><span>{low:.2f}</span><i style="background: linear-gradient(90deg, {colors})"></i>'
        f"<span>{high:.2f} and more</span></p>"
    )
