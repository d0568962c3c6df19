"""Trade-off, from records: accuracy and agreement against what they cost."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from app import wording
from app.charts.quality import COMMAND, RECORD, accuracy_by_flops, quality_table, read_quality, split_keys
from app.charts.race import data_of, race_chart, race_table, read_race, standings_table
from app.panels import AT_ONCE, Changes
from app.panels.components import axis_choices, plot
from profiling.race.results import RaceResult
from skipcore import InputError, Vlm
from skipcore.builtin.evaluation.quality_record import Quality
from skipcore.provenance import folder_sha256

INTRO = "How often the model answers rightly, and what that costs: measured once, on pictures it was not trained on."

RACE_INTRO = "Settings of each method are those that come nearest to each budget; whiskers are Skip-Vision's intervals."


class QualityPanel:
    """Accuracy against FLOPs for the loaded model, from a record; a sentence where there is none of it. Then the race
    of all methods, from `race.json` beside the record, where that is of this model.

    Both are laid out once, hidden while the visitor's model is another one.

    Attributes:
        outputs: what `show_model` changes.
    """

    def __init__(self, vlm: Vlm, record: Path = RECORD) -> None:
        gr.HTML(f"<h2>Trade-off</h2><p class='intro'>{INTRO}</p>")
        self._quality: Quality | None = None
        self._race: RaceResult | None = None
        self.outputs: list[Any] = []
        try:
            quality, race = read_quality(record), read_race(record.with_name("race.json"))
        except InputError as error:
            gr.HTML(_sentence(str(error)))
            return
        sha256, self._quality, self._race = folder_sha256(vlm.model.name_or_path), quality, race
        reason = why_not_shown(quality, sha256)
        self.reason = gr.HTML(_sentence(reason), visible=bool(reason))
        with gr.Column(visible=not reason) as self.figures:
            if quality is not None and quality.splits:
                self._lay_out(quality)
        with gr.Column(visible=_is_of(race, sha256)) as self.race:
            if race is not None:
                self._lay_out_race(race)
        self.outputs = [self.reason, self.figures, self.race]

    def show_model(self, vlm: Vlm) -> Changes:
        """What the records say about another model."""
        if not self.outputs:  # they cannot be read
            return {}
        sha256 = folder_sha256(vlm.model.name_or_path)
        reason = why_not_shown(self._quality, sha256)
        return {
            self.reason: gr.update(value=_sentence(reason), visible=bool(reason)),
            self.figures: gr.update(visible=not reason),
            self.race: gr.update(visible=_is_of(self._race, sha256)),
        }

    def _lay_out(self, quality: Quality) -> None:
        with gr.Row(elem_id="quality-pair"):
            with gr.Column(min_width=320):
                gr.HTML("<h3>Right answers against FLOPs</h3>")
                gr.HTML(split_keys(quality))
                plot("quality", accuracy_by_flops(quality))
            with gr.Column(min_width=320):
                names = [(wording.split_name(name), number) for number, name in enumerate(quality.splits)]
                split = gr.Radio(names, value=0, label="Pictures", elem_id="quality-split")
                tables = [quality_table(each) for each in quality.splits.values()]
                table = gr.HTML(tables[0], elem_id="quality-table")
        gr.HTML(_sentence(origin_sentence(quality)))
        split.input(lambda number: tables[number], split, table, **AT_ONCE)

    def _lay_out_race(self, race: RaceResult) -> None:
        gr.HTML(f"<h3>The race: all methods at equal FLOPs</h3><p class='intro'>{RACE_INTRO}</p>")
        axes, charts, shown = axis_choices("race"), [], data_of(race)
        for number, data in enumerate(shown):
            with gr.Row():
                with gr.Column(min_width=320):
                    gr.HTML(f"<h3>{escape(data.name)}</h3>")
                    charts.append(plot(f"race-{number}", race_chart(data)))
                with gr.Column(min_width=320):
                    sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in data.sentences)
                    gr.HTML(
                        standings_table(data)
                        + f"<details><summary>In words</summary>{sentences}</details>"
                        + f"<details><summary>All values</summary>{race_table(data)}</details>"
                    )
        changed = [axis.input for axis in axes]
        gr.on(changed, lambda *now: [race_chart(data, *now) for data in shown], axes, charts, **AT_ONCE)
        gr.HTML(_sentence(f"Measured on {race.device['name']}, {race.date}, by `python -m profiling race`."))


def why_not_shown(quality: Quality | None, sha256: str | None) -> str:
    """Why a record says nothing about the loaded model, in a sentence; empty if it does."""
    if quality is None:
        return f"Not measured yet: `{COMMAND}` does it."
    if quality.model_sha256 != sha256:
        return (
            f"{RECORD.name} holds the figures of another model ({quality.model}, sha256 {quality.model_sha256[:12]}…), "
            f"which say nothing about this one: `{COMMAND}` measures it."
        )
    return "" if quality.splits else f"{RECORD.name} holds no figures: `{COMMAND}` measures them."


def _is_of(race: RaceResult | None, sha256: str | None) -> bool:
    return race is not None and race.model_sha256 == sha256


def origin_sentence(quality: Quality) -> str:
    """What the figures were measured on, and how to measure them again."""
    device = ", ".join(str(quality.device[name]) for name in ("name", "dtype") if name in quality.device)
    versions = ", ".join(f"{name} {version}" for name, version in quality.versions.items())
    return (
        f"Model: {quality.model} (sha256 {quality.model_sha256[:12]}…), measured on {device} "
        f"({versions}), {quality.date}. Measure it again: `{COMMAND}`."
    )


def _sentence(text: str) -> str:
    """A sentence as HTML; what stands between backticks is code."""
    parts = escape(text).split("`")
    marked = "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
    return f'<p class="conditions">{marked}</p>'
