"""Pieces of HTML that many panels share: keys, tables and findings. All text is escaped; theme.css has the classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from app import palette
from profiling import Report


def keys(*entries: tuple[str, str]) -> str:
    """(class of the swatch in theme.css, what it stands for), in a row."""
    items = "".join(f'<li><span class="key {swatch}"></span>{escape(name)}</li>' for swatch, name in entries)
    return f'<ul class="keys">{items}</ul>'


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


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells of plain text as a table; the first cell of a row is its heading."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    return f'<div class="table"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def layer_table(*columns: tuple[str, Iterable[str]], corner: str = "") -> str:
    """A table with one row a layer.

    Args:
        columns: heading and cells of each, one cell a layer.
        corner: the heading of the layers.
    """
    by_layer = zip(*(cells for _, cells in columns), strict=True)
    rows = [[f"Layer {layer}", *cells] for layer, cells in enumerate(by_layer, start=1)]
    return html_table([corner, *(heading for heading, _ in columns)], rows)


def paragraph(sentence: str, kind: str = "finding") -> str:
    """A sentence of plain text, in a class of theme.css."""
    return f'<p class="{kind}">{escape(sentence)}</p>'
