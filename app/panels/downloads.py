"""The files a visitor can take away from a report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from app.tokens.overlay import View, plain_pictures, token_marks
from app.tokens.token_grids import token_grids
from profiling import Report
from profiling.output.exports import chrome_trace, csv_text, json_text
from profiling.output.html_report import Captioned, html_report


@dataclass(frozen=True)
class Download:
    """One kind of file: what its button says, what it is called, and what is in it."""

    name: str
    label: str
    file: str
    text: Callable[[Report], str]


def overlays(report: Report) -> list[Captioned]:
    """The picture with what the first layer of each arm does with its tokens."""
    grids = token_grids(report.pictures, report.tiles)
    return [
        (
            f"{arm.name}: what layer 1 does with each token",
            Image.alpha_composite(plain.convert("RGBA"), marks.convert("RGBA")),
        )
        for arm in report.arms
        for plain, marks in zip(plain_pictures(grids), token_marks(grids, arm.trace, View.STATE, 0), strict=True)
    ]


DOWNLOADS = (
    Download("json", "JSON", "skip-vision.json", json_text),
    Download("csv", "CSV", "skip-vision.csv", csv_text),
    Download("html", "Report (HTML)", "skip-vision.html", lambda report: html_report(report, overlays(report))),
    Download("trace", "Trace (Perfetto)", "skip-vision.trace.json", chrome_trace),
)
