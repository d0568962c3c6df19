"""Follow up: the box for further questions about the same picture, and what was said."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import gradio as gr

from app import wording
from app.panels import Changes
from app.panels.answers import marked
from app.runs.talk import Reply, Talk, Turn
from profiling import Report
from skipcore import Method, Vlm

# Seconds after which a visitor who left is forgotten.
HOUR = 3600


class FollowPanel:
    """There once there is a report to follow up.

    Attributes:
        talk: the visitor's conversation.
    """

    def __init__(self) -> None:
        self.talk = gr.State(None, time_to_live=HOUR)
        with gr.Column(visible=False, elem_id="follow") as self.column:
            self.transcript = gr.HTML(elem_id="transcript")
            with gr.Row(elem_id="follow-row"):
                self.question = gr.Textbox(
                    label="Follow up",
                    info="Another question about the same picture: both read only what is new.",
                    max_lines=4,
                    scale=4,
                    elem_id="follow-question",
                )
                self.button = gr.Button("Ask both", scale=1, min_width=110, elem_id="follow-ask")
        self.outputs = [self.talk, self.column, self.transcript, self.question]

    def start(self, vlm: Vlm, report: Report, methods: Sequence[Method]) -> Changes:
        """A new conversation about a report."""
        return {
            self.talk: Talk.about(vlm, report, methods),
            self.column: gr.update(visible=True),
            self.transcript: "",
            self.question: "",
        }

    def show(self, talk: Talk, growing: Turn | None = None) -> Changes:
        """What was said, and the turn that is still being answered."""
        return {self.transcript: transcript(talk.names, talk.turns, growing)}


def transcript(names: Sequence[str], turns: Sequence[Turn], growing: Turn | None = None) -> str:
    """The turns as HTML: each question above the replies of all arms; all text is escaped."""
    parts = [_turn(names, turn, "done") for turn in turns] + [_turn(names, turn, "live") for turn in (growing,) if turn]
    return f'<ol class="turns">{"".join(parts)}</ol>' if parts else ""


def _turn(names: Sequence[str], turn: Turn, state: str) -> str:
    texts = [escape(reply.text.strip()) for reply in turn.replies]
    if state == "done":
        first = turn.replies[0].text
        texts = [marked(first, turn.replies[-1].text)[0], *(marked(first, each.text)[1] for each in turn.replies[1:])]
    replies = "".join(
        f'<div class="reply {"skip" if number else "dense"}"><h3>{escape(name)}</h3>'
        f'<p class="said">{text or "&nbsp;"}</p><p class="hint">{escape(reply_sentence(reply))}</p></div>'
        for number, (name, reply, text) in enumerate(zip(names, turn.replies, texts, strict=True))
    )
    return f'<li class="{state}"><p class="asked">{escape(turn.question)}</p><div class="replies">{replies}</div></li>'


def reply_sentence(reply: Reply) -> str:
    """How soon a reply came, how much of its prompt was not read again, and how many tokens the KV cache held."""
    if reply.ttft_ms is None:
        return "–"
    read = "everything prefilled again"
    if reply.reused:
        read = f"{reply.reused:,} tokens not read again ({reply.kv_tokens:,.0f} held in the KV cache)"
    return f"first token after {wording.milliseconds(reply.ttft_ms)}, {read}"
