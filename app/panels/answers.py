"""Answers: both answers side by side while they are made, and the headline of what was saved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape

import gradio as gr

from app import wording
from app.panels import Changes
from profiling import Arm, Report
from profiling.events import NewText
from skipcore import Trace

WAITING = {
    "Dense": "Every visual token runs through every layer.",
    "Skip-Vision": "The same weights; redundant visual tokens are merged, skip the FFN and leave the KV cache.",
}


@dataclass(frozen=True)
class LiveAnswer:
    """An answer so far. What is not known yet is None."""

    name: str
    text: str = ""
    ttft_ms: float | None = None
    tokens_per_s: float | None = None
    kv_bytes: float | None = None
    kv_tokens: float | None = None
    done: bool = False

    @classmethod
    def of(cls, arm: Arm) -> LiveAnswer:
        """The finished answer of a report's arm."""
        return cls(arm.name, arm.answer, arm.ttft_ms, arm.decode_tokens_per_s, arm.kv_bytes, arm.kv_tokens, done=True)

    def with_text(self, event: NewText, vision_ms: float) -> LiveAnswer:
        """One token more."""
        pace = None if event.tpot_ms is None else 1000 / event.tpot_ms
        return replace(self, text=self.text + event.text, ttft_ms=vision_ms + event.prefill_ms, tokens_per_s=pace)

    def with_trace(self, trace: Trace) -> LiveAnswer:
        """The size of its KV cache is known."""
        if trace.kv_bytes is None or trace.kv_tokens is None:
            return self
        return replace(self, kv_bytes=int(trace.kv_bytes.sum()), kv_tokens=float(trace.kv_tokens.float().mean()))


class AnswersPanel:
    """Two cards and the headline."""

    def __init__(self) -> None:
        with gr.Row(elem_id="answers", equal_height=True):
            self.cards = [
                gr.HTML(waiting_card(name), min_width=260, elem_id=f"answer-{number}")
                for number, name in enumerate(WAITING)
            ]
        self.headline = gr.HTML(
            '<p class="hint">What Skip-Vision saves appears here: prefill time, KV cache, FLOPs, '
            "and how much of the FLOP saving became time.</p>",
            elem_id="headline",
        )
        self.outputs = [*self.cards, self.headline]

    def show_live(self, answers: list[LiveAnswer]) -> Changes:
        """The answers so far."""
        return {
            card: answer_card(answer, number)
            for number, (card, answer) in enumerate(zip(self.cards, answers, strict=True))
        }

    def show(self, report: Report) -> Changes:
        """The finished answers and the headline."""
        changes = self.show_live([LiveAnswer.of(arm) for arm in report.arms])
        return changes | {self.headline: headline(report)}


def waiting_card(name: str) -> str:
    """A card before the first question."""
    kind = "dense" if name == "Dense" else "skip"
    return f'<article class="answer {kind}"><h2>{name}</h2><p class="hint">{WAITING[name]}</p></article>'


def answer_card(answer: LiveAnswer, number: int) -> str:
    """An answer with its measures, as HTML; all text is escaped."""
    measures = [
        ("time to first token", "–" if answer.ttft_ms is None else wording.milliseconds(answer.ttft_ms)),
        ("decode", wording.pace(answer.tokens_per_s) if answer.done or answer.tokens_per_s else "–"),
        ("KV cache", "–" if answer.kv_bytes is None else wording.size(answer.kv_bytes)),
        ("tokens in the cache", "–" if answer.kv_tokens is None else f"{answer.kv_tokens:,.0f}"),
    ]
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in measures)
    text = escape(answer.text.strip()) or ("<i>(an empty answer)</i>" if answer.done else "&nbsp;")
    kind = "dense" if number == 0 else "skip"
    state = "done" if answer.done else "live"
    return (
        f'<article class="answer {kind} {state}"><h2>{escape(answer.name)}</h2>'
        f'<p class="text" aria-live="polite">{text}</p><dl class="measures">{cells}</dl></article>'
    )


def headline(report: Report) -> str:
    """What was saved: a sentence, and big numbers."""
    saved = report.savings.get(report.arms[-1].name)
    if saved is None:
        return f'<p class="sentence">{escape(wording.saving_sentence(report))}</p>'
    numbers = [
        (wording.change(saved.prefill_time), "prefill time"),
        (wording.change(saved.kv_bytes), "KV cache"),
        (wording.change(saved.flops_prefill), "prefill FLOPs"),
        (wording.share(saved.flops_turned_into_time), "of the FLOP saving became time"),
    ]
    cells = "".join(f"<div><dd>{value}</dd><dt>{name}</dt></div>" for value, name in numbers)
    return (
        f'<p class="sentence">{escape(wording.saving_sentence(report))}</p><dl class="numbers">{cells}</dl>'
        f'<p class="conditions">{escape(wording.conditions_sentence(report))}</p>'
    )
