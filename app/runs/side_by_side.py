"""Both arms answer side by side, and once more in slow motion where it was over in a blink."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from math import ceil
from typing import Any

import gradio as gr

from app.panels import Changes
from app.panels.ask import AskPanel
from app.panels.lanes import LanesPanel
from app.runs.ask import STOPPED
from app.runs.talk import Talk
from app.server.pace import SECONDS_BETWEEN_REDRAWS, ahead, at_most_every
from app.server.refusals import Refusal, refusing
from app.server.visitors import ends_when_they_leave
from skipcore.answering.alternate import Step, alternate

WATCHABLE_SECONDS = 4.0
"""Answers that took less are shown again, slowed down to about this."""
DONE = "Both are done. The figures above come from runs of their own."


@dataclass(frozen=True)
class SideBySideRun:
    """The panels at work together on the question of the visitor's last report.

    Attributes:
        talk: the visitor's conversation, which knows picture, question and methods.
        stop: the event that ends the visitor's run.
    """

    ask_panel: AskPanel
    panel: LanesPanel
    talk: gr.State
    stop: gr.State

    @property
    def inputs(self) -> list[Any]:
        """Components whose values `ask` takes, in its order."""
        return [self.talk]

    @property
    def outputs(self) -> list[Any]:
        """Every component that `ask` may change."""
        return [self.stop, *self.ask_panel.outputs, *self.panel.outputs]

    def ask(self, talk: Talk | None) -> Iterator[Changes]:
        """Answer on the device, the arms in turns."""
        stop = threading.Event()
        yield {self.stop: stop, self.panel.steps: []} | self.ask_panel.running("Both read the picture…")
        if talk is None:
            yield self.ask_panel.idle("Ask about a picture first.", failed=True)
            return
        steps: list[Step] = []
        vlm, methods = talk.chats[0].vlm, [chat.method for chat in talk.chats]
        try:
            both = alternate(vlm, list(talk.pictures), talk.question, methods, talk.max_new_tokens, stop=stop)
            with refusing(), ends_when_they_leave(stop), closing(ahead(both, stop)) as tokens:
                yield self.panel.show(talk.names, steps)
                for _ in at_most_every(SECONDS_BETWEEN_REDRAWS, _kept(tokens, steps)):
                    yield self.ask_panel.running("Both answer…") | self.panel.show(talk.names, steps)
            sentence = STOPPED if stop.is_set() else DONE
            yield self.panel.show(talk.names, steps) | {self.panel.steps: steps} | self.ask_panel.idle(sentence)
        except Refusal as refusal:
            yield self.ask_panel.idle(str(refusal), failed=True)
        finally:
            stop.set()

    def replay(self, talk: Talk | None, steps: Sequence[Step]) -> Iterator[Changes]:
        """Show answers that were there in a blink once more; the device is free meanwhile."""
        factor = slowdown(steps)
        if talk is None or factor == 1:
            return
        stop = threading.Event()
        yield {self.stop: stop} | self.ask_panel.running(f"Once more, slowed down {factor} times…")
        now = 0.0
        for number, step in enumerate(steps):
            yield self.panel.show(talk.names, steps[:number])
            if stop.wait(factor * (step.seconds - now)):
                break
            now = step.seconds
        yield self.panel.show(talk.names, steps) | self.ask_panel.idle(STOPPED if stop.is_set() else DONE)


def slowdown(steps: Sequence[Step]) -> int:
    """How many times slower than they were the answers are shown again; 1: they were slow enough, or stopped."""
    if not steps or not all(any(step.done for step in steps if step.number == each.number) for each in steps):
        return 1
    return max(1, ceil(WATCHABLE_SECONDS / max(step.seconds for step in steps)))


def _kept(both: Iterator[Step], steps: list[Step]) -> Iterator[Step]:
    for step in both:
        steps.append(step)
        yield step
