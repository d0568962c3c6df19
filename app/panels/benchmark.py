"""Benchmark: many timed runs of the question above, in turns and of one length, with files to download."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

import gradio as gr
from PIL import Image

from app import wording
from app.markup import html_table, paragraph
from app.panels import Changes
from app.panels.components import RunControls
from app.runs.comparison import run
from app.runs.eta import Eta
from app.server.gradio_internals import save_download
from app.server.pool import ModelPool
from app.settings import Settings
from app.tokens.overlay import View, plain_pictures, token_marks
from app.tokens.token_grids import grids_of
from profiling import Report
from profiling.events import Progress
from profiling.output.exports import chrome_trace, csv_text, json_text
from profiling.output.html_report import Captioned, html_report

INTRO = (
    "Times the question above again and again: the arms in turns, answers of one length, the first run of each left "
    "out. Keep other programs quiet meanwhile."
)
MAX_REPEATS, MAX_LENGTH = 20, 128


@dataclass(frozen=True)
class Download:
    """One kind of file: what its button says, what it is called, and what is in it."""

    name: str
    label: str
    file: str
    text: Callable[[Report], str]


def overlays(report: Report) -> list[Captioned]:
    """The picture with what the first layer of each arm does with its tokens."""
    grids = grids_of(report)
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


class BenchmarkPanel:
    """Controls, a line of progress, the figures, and buttons that download them.

    Args:
        inputs: components with model, picture, question and settings.
        settings: makes `Settings` of a model and the values of the fourth and later ones.
    """

    def __init__(self, pool: ModelPool, inputs: Sequence[Any], settings: Callable[..., Settings]) -> None:
        self.pool, self.settings = pool, settings
        with gr.Accordion("Benchmark", open=False, elem_id="benchmark"):
            gr.HTML(f"<p class='intro'>{INTRO}</p>")
            with gr.Row():
                repeats = gr.Slider(
                    2, MAX_REPEATS, 10, step=1, precision=0, label="Timed runs of each", buttons=[], elem_id="runs"
                )
                length = gr.Slider(
                    2, MAX_LENGTH, 32, step=1, precision=0, label="Tokens of every answer", buttons=[], elem_id="length"
                )
            self.controls = RunControls(
                "benchmark",
                "Run the benchmark",
                "Takes the picture, the question and the settings above.",
                "Stopped.",
            )
            self.result = gr.HTML(elem_id="benchmark-result")
            with gr.Row():  # never hidden: buttons that appear together with their files may miss them
                self.files = [
                    gr.DownloadButton(each.label, size="sm", interactive=False, elem_id=f"download-{each.name}")
                    for each in DOWNLOADS
                ]
        self.controls.wire(self.measure, [*inputs, repeats, length], [self.result, *self.files])

    def measure(self, name: str, picture: dict[str, Any] | None, question: str, *values: Any) -> Iterator[Changes]:
        """Run it; what an earlier one found stays until this one is done.

        Args:
            values: the settings, then runs and length.
        """
        *settings, repeats, length = values

        def steps(stop: threading.Event) -> Iterator[Changes]:
            length_and_runs = {"repeats": repeats, "max_new_tokens": length, "fixed_length": True}
            eta = Eta(monotonic)
            with self.pool.running(name) as model:
                chosen = replace(self.settings(model, *settings), **length_and_runs)
                with closing(run(model.vlm, picture, question, chosen, stop)) as events:
                    for event in events:
                        match event:
                            case Progress():
                                eta.begin(2 * event.runs)
                                yield self.controls.running(eta.sentence(f"run {event.run} of {event.runs}"))
                            case Report():
                                yield self.show(event)

        yield from self.controls.follow(steps)

    def show(self, report: Report) -> Changes:
        """The figures, and the files."""
        files: Changes = {}
        for button, download in zip(self.files, DOWNLOADS, strict=True):
            path = save_download(download.text(report), download.file, button)
            files[button] = gr.update(value=path, interactive=True)
        return {self.result: figures_table(report)} | files


def figures_table(report: Report) -> str:
    """Median and 90th percentile of every time by arm, and what was measured on what."""
    rows = []
    for name, title in (
        ("vision_ms", "vision"),
        ("prefill_ms", "prefill"),
        ("ttft_ms", "first token"),
        ("tpot_ms", "per token"),
    ):
        for figure in ("p50", "p90"):
            spreads = [arm.spread.get(name) for arm in report.arms]
            cells = [wording.NOT_AVAILABLE if each is None else f"{getattr(each, figure):.2f} ms" for each in spreads]
            rows.append([f"{title}, {'median' if figure == 'p50' else figure}", *cells])
    conditions = paragraph(wording.conditions_sentence(report), "conditions")
    return html_table(["", *(arm.name for arm in report.arms)], rows) + conditions
