"""A sparkline: a small line over the layers, as inline SVG. Numbers in, markup out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WIDTH, HEIGHT, EDGE = 240, 56, 6


def sparkline(series: Sequence[tuple[str, np.ndarray]], layer: int, label: str) -> str:
    """Lines on one scale from 0 to the largest value.

    Args:
        series: a class of theme.css for each line, and its values [layers]; NaN leaves a gap.
        layer: where the upright rule stands, from 0.
        label: what is shown, in words without markup.
    """
    values = [values for _, values in series]
    count = max((len(each) for each in values), default=1)
    finite = [each[np.isfinite(each)] for each in values]
    top = max((float(each.max()) for each in finite if len(each)), default=0.0) or 1.0

    def x(number: int) -> float:
        return WIDTH / 2 if count == 1 else EDGE + number * (WIDTH - 2 * EDGE) / (count - 1)

    def y(value: float) -> float:
        return HEIGHT - EDGE - value / top * (HEIGHT - 2 * EDGE)

    drawn = ""
    for name, line in series:
        path, pen = "", "M"
        dots = ""
        for number, value in enumerate(line.tolist()):
            if np.isnan(value):
                pen = "M"
                continue
            path += f"{pen}{x(number):.1f} {y(value):.1f}"
            dots += f'<circle cx="{x(number):.1f}" cy="{y(value):.1f}" r="2"/>'
            pen = "L"
        drawn += f'<g class="{name}"><path d="{path}"/>{dots}</g>' if path else ""
    rule = f'<line class="here" x1="{x(layer):.1f}" x2="{x(layer):.1f}" y1="0" y2="{HEIGHT}"/>'
    return f'<svg class="sparkline" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{rule}{drawn}</svg>'
