"""Answers: both answers side by side while they are made, and the headline of what was saved."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from html import escape

import gradio as gr

from app import wording
from app.panels import Changes
from profiling import Arm, Report
from profiling.events import NewText
from profiling.output.table import agreement_line
from skipcore import Trace
from skipcore.builtin.questions.questions import Question, is_right

# More characters than this, such as a description's, are set smaller.
LONG = 60
WAITING = {
    "Dense": "Every visual token runs through every layer.",
    "Skip-Vision": "The same weights; redundant visual tokens are merged, skip the FFN and leave the KV cache.",
}

NOTHING_SAVED = (
    '<p class="hint">What is saved appears here: prefill time, KV cache, FLOPs, '
    "and how much of the FLOP saving became time.</p>"
)
LIVE = (
    "Measured here and now. Below, the picture shows which of its tokens ran in full, and which were skipped or merged."
)


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
    """The question that was asked, two cards and the headline.

    Args:
        recorded: a recorded report that the page opens with, what is known about its question, and whether its model is
            a judge, see `verdict`.
    """

    def __init__(self, recorded: tuple[Report, Question | None, bool] | None = None) -> None:
        asked, cards, saved = _at_first(recorded)
        self.asked = gr.HTML(asked, visible=bool(asked), elem_id="asked")
        with gr.Row(elem_id="answers", equal_height=True):
            self.cards = [gr.HTML(card, min_width=260, elem_id=f"answer-{number}") for number, card in enumerate(cards)]
        self.headline = gr.HTML(saved, elem_id="headline")
        self.outputs = [self.asked, *self.cards, self.headline]

    def show_question(self, question: str) -> Changes:
        """What the answers to come are about: the question box may say something else by then."""
        return {self.asked: gr.update(value=asked_line(question, LIVE), visible=True)}

    def show_live(self, answers: list[LiveAnswer], truth: Question | None = None, only: int | None = None) -> Changes:
        """The answers so far, with room for their marks where the truth is known.

        Args:
            only: the arm whose answer has changed; default: all.
        """
        room = '<p class="verdict">&nbsp;</p>' * (truth is not None)
        return {
            card: answer_card(answer, number, room)
            for number, (card, answer) in enumerate(zip(self.cards, answers, strict=True))
            if only in (None, number)
        }

    def show(self, report: Report, truth: Question | None = None, is_judge: bool = False) -> Changes:
        """The finished answers, marked where the truth is known, and the headline."""
        cards = dict(zip(self.cards, _finished(report, truth, is_judge), strict=True))
        return cards | self.show_question(report.question) | {self.headline: headline(report)}

    def start(self, recorded: tuple[Report, Question | None, bool] | None = None) -> Changes:
        """As at first, with what a model has recorded or with nothing."""
        asked, cards, saved = _at_first(recorded)
        return {
            self.asked: gr.update(value=asked, visible=bool(asked)),
            self.headline: saved,
            **dict(zip(self.cards, cards, strict=True)),
        }


def _at_first(recorded: tuple[Report, Question | None, bool] | None) -> tuple[str, list[str], str]:
    if recorded is None:
        return "", list(map(waiting_card, WAITING)), NOTHING_SAVED
    report, truth, is_judge = recorded
    asked = asked_line(report.question, wording.recorded_sentence(report))
    return asked, _finished(report, truth, is_judge), headline(report)


def _finished(report: Report, truth: Question | None, is_judge: bool) -> list[str]:
    first, *_, last = (arm.answer for arm in report.arms)
    texts = [marked(first, last)[0], *(marked(first, arm.answer)[1] for arm in report.arms[1:])]
    return [
        answer_card(LiveAnswer.of(arm), number, verdict(truth, arm.answer, is_judge), text)
        for number, (arm, text) in enumerate(zip(report.arms, texts, strict=True))
    ]


def asked_line(question: str, origin: str) -> str:
    """Where the answers come from, and the question, as HTML."""
    return f'<p class="origin">{escape(origin)}</p><p class="asked">{escape(question.strip())}</p>'


def waiting_card(name: str) -> str:
    """A card before the first question."""
    kind = "dense" if name == "Dense" else "skip"
    return f'<article class="answer {kind}"><h2>{name}</h2><p class="hint">{WAITING[name]}</p></article>'


def verdict(truth: Question | None, answer: str, is_judge: bool) -> str:
    """The mark of an answer as HTML, empty where the truth is not known.

    Args:
        is_judge: whether the model answers in the scenes' words. One that does not may be right in words of its own,
            so the true answer is shown beside its own, which is not called wrong.
    """
    if truth is None:
        return ""
    if is_right(truth, answer):
        return '<p class="verdict right"><strong>✓ right</strong></p>'
    the_truth = f"the true answer: {escape(truth.answer)}"
    if not is_judge:
        return f'<p class="verdict">{the_truth}</p>'
    return f'<p class="verdict wrong"><strong>✗ wrong</strong>, {the_truth}</p>'


def answer_card(answer: LiveAnswer, number: int, its_verdict: str = "", text: str | None = None) -> str:
    """An answer with its mark, if any, and its measures, as HTML; all text is escaped.

    Args:
        text: the answer as HTML with its differences marked; default: the plain answer.
    """
    measures = [
        ("time to first token", "–" if answer.ttft_ms is None else wording.milliseconds(answer.ttft_ms)),
        ("decode", wording.pace(answer.tokens_per_s) if answer.done or answer.tokens_per_s else "–"),
        ("KV cache", "–" if answer.kv_bytes is None else wording.size(answer.kv_bytes)),
        ("tokens in the cache", "–" if answer.kv_tokens is None else f"{answer.kv_tokens:,.0f} a layer"),
    ]
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in measures)
    text = (text or escape(answer.text.strip())) or ("<i>(an empty answer)</i>" if answer.done else "&nbsp;")
    length = " long" if len(answer.text) > LONG else ""
    kind = "dense" if number == 0 else "skip"
    state = "done" if answer.done else "live"
    return (
        f'<article class="answer {kind} {state}"><h2>{escape(answer.name)}</h2>'
        f'<p class="text{length}" aria-live="polite"><span>{text}</span></p>{its_verdict}'
        f'<dl class="measures">{cells}</dl></article>'
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
    agreement = agreement_line(report, report.arms[-1].name)
    if report.arms[0].answer.split() != report.arms[-1].answer.split():
        agreement += " Words that the other answer lacks are underlined."
    return (
        f'<p class="sentence">{escape(wording.saving_sentence(report))}</p><dl class="numbers">{cells}</dl>'
        f'<p class="agreement">{escape(agreement)}</p>'
        f'<p class="conditions">{escape(wording.conditions_sentence(report))}</p>'
    )


def marked(one: str, other: str) -> tuple[str, str]:
    """Both answers as HTML, with <mark> around the words that the other one lacks in their place. Capitals and the
    marks around a word make no difference."""
    words, others = one.split(), other.split()
    matcher = SequenceMatcher(None, [_plain(word) for word in words], [_plain(word) for word in others], autojunk=False)
    steps = matcher.get_opcodes()
    return (
        " ".join(_runs(words[start:end], kind) for kind, start, end, _, _ in steps if end > start),
        " ".join(_runs(others[start:end], kind) for kind, _, _, start, end in steps if end > start),
    )


def _runs(words: list[str], kind: str) -> str:
    text = escape(" ".join(words))
    return text if kind == "equal" else f"<mark>{text}</mark>"


def _plain(word: str) -> str:
    """A word that is nothing but marks stays as it is."""
    return re.sub(r"^\W+|\W+$", "", word.lower()) or word
