"""A report as one HTML file that needs nothing else: pictures, charts and tables are in it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO
from statistics import median

from PIL import Image

from profiling.output.table import shown, summary_lines, table_rows
from profiling.report import Report

Captioned = tuple[str, Image.Image]
COLORS = ("var(--ink)", "#009E73", "#CC79A7", "#D55E00", "#0072B2")
DASHES = ("none", "7 4", "2 3", "9 3 2 3", "12 5")
PHASES = {"vision": 0.3, "prefill": 1.0, "decode": 0.55}
"""With the opacity of each."""
WIDTH = 720
STYLE = """
:root { color-scheme: light dark; --ink: #101014; --paper: #fbfaf7; --soft: #5a5f66; --rule: #e3e1da; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #f2f2ee; --paper: #131517; --soft: #a4a8ae; --rule: #2e3236; }
}
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; max-width: 760px;
       margin: 32px auto; padding: 0 16px; }
h1 { font-size: 24px; } h2 { font-size: 18px; margin-top: 32px; }
p, figcaption, text.soft { color: var(--soft); fill: var(--soft); font-size: 14px; }
svg { width: 100%; height: auto; } text { font: 13px system-ui, sans-serif; fill: var(--ink); }
figure { margin: 12px 0; } img { max-width: 100%; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
td, th { padding: 6px 16px 6px 0; border-bottom: 1px solid var(--rule); text-align: left; font-weight: 400; }
"""


def html_report(report: Report, pictures: Sequence[Captioned] | None = None) -> str:
    """Return the whole file.

    Args:
        pictures: with a caption each; default: those of the report.
    """
    shown = [("The picture", each) for each in report.pictures] if pictures is None else pictures
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">",
        f"<title>{escape(report.model)}: benchmark</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(report.question)}</h1>",
        *(f"<p>{escape(line)}</p>" for line in summary_lines(report)),
        *(_figure(caption, picture) for caption, picture in shown),
        "<h2>From picture to last token</h2>",
        phases_svg(report),
        "<h2>Time between tokens</h2>",
        steps_svg(report),
        "<h2>All figures</h2>",
        _table(table_rows(report)),
        "</body></html>",
    ]
    return "\n".join(parts)


def phases_svg(report: Report) -> str:
    """Draw vision, prefill and decode of each arm as stacked bars, and say them below."""
    times = [(arm.vision_ms, arm.prefill_ms, arm.decode_ms) for arm in report.arms]
    parts, words = [], []
    for number, (arm, own) in enumerate(zip(report.arms, times, strict=True)):
        top, left, color = 64 * number, 0.0, COLORS[number % len(COLORS)]
        said = [f"{name} {ms:.2f} ms" for name, ms in zip(PHASES, own, strict=True)]
        words.append(f"{arm.name}: {', '.join(said)}")
        parts.append(f'<text x="0" y="{top + 16}">{escape(arm.name)}: {sum(own):.1f} ms</text>')
        for opacity, ms, title in zip(PHASES.values(), own, said, strict=True):
            width = (WIDTH - 2) * ms / max(map(sum, times))
            parts.append(
                f'<rect x="{left:.1f}" y="{top + 24}" width="{width:.1f}" height="24" opacity="{opacity}" '
                f'fill="{color}"><title>{title}</title></rect>'
            )
            left += width
    sentence = "; ".join(words)
    return _svg(parts, 64 * len(report.arms), sentence) + f"<p>{escape(sentence)}.</p>"


def steps_svg(report: Report) -> str:
    """Draw the median time of every decode step of each arm."""
    lines = [[median(times) for times in arm.decode_steps_ms] for arm in report.arms]
    most, longest = max(max(line, default=0.0) for line in lines), max(map(len, lines))
    if longest < 2:
        return "<p>Not available: the answers have fewer than three tokens.</p>"
    parts = ['<line x1="0" y1="180" x2="720" y2="180" stroke="var(--rule)"/>']
    parts.append(f'<text class="soft" x="0" y="12">{most:.2f} ms</text>')
    parts.append('<text class="soft" x="0" y="197">token 2</text>')
    parts.append(f'<text class="soft" x="{WIDTH}" y="197" text-anchor="end">token {longest + 1}</text>')
    for number, (arm, line) in enumerate(zip(report.arms, lines, strict=True)):
        points = " ".join(f"{WIDTH * x / (longest - 1):.1f},{180 - 160 * y / most:.1f}" for x, y in enumerate(line))
        color, dash = COLORS[number % len(COLORS)], DASHES[number % len(DASHES)]
        stroke = f'stroke="{color}" stroke-width="2" stroke-dasharray="{dash}"'
        parts.append(f'<polyline points="{points}" fill="none" {stroke}/>')
        top = 222 + 22 * number
        parts.append(f'<line x1="0" y1="{top - 5}" x2="32" y2="{top - 5}" {stroke}/>')
        middle = shown(median(line) if line else None, "{:.2f} ms at the median")
        parts.append(f'<text x="42" y="{top}">{escape(arm.name)}: {middle}</text>')
    return _svg(parts, 210 + 22 * len(lines), "Time of every decode step")


def _svg(parts: Sequence[str], height: int, words: str) -> str:
    label = escape(words)
    return f'<svg role="img" aria-label="{label}" viewBox="0 0 {WIDTH} {height}">{"".join(parts)}</svg>'


def _figure(caption: str, picture: Image.Image) -> str:
    buffer = BytesIO()
    picture.convert("RGB").save(buffer, "WEBP", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    words = escape(caption)
    return f'<figure><img alt="{words}" src="data:image/webp;base64,{data}"><figcaption>{words}</figcaption></figure>'


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
    lines = "".join(f"<tr>{row}</tr>" for row in body)
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'
