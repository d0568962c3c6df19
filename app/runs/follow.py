"""What happens when a visitor follows up: a question in, changes of the page out."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from app.panels import Changes
from app.panels.ask import AskPanel
from app.panels.follow import FollowPanel
from app.runs.ask import STOPPED
from app.runs.talk import LastTalk, Talk, Turn
from app.server.pace import SECONDS_BETWEEN_REDRAWS, ahead, at_most_every
from app.server.refusals import Refusal, refusing
from app.server.visitors import ends_when_they_leave


@dataclass(frozen=True)
class FollowUpRun:
    """The panels at work together on follow-up questions.

    Attributes:
        stop: the event that ends the visitor's run.
    """

    ask_panel: AskPanel
    panel: FollowPanel
    stop: gr.State
    last: LastTalk = field(default_factory=LastTalk)

    @property
    def inputs(self) -> list[Any]:
        """Components whose values `ask` takes, in its order."""
        return [self.panel.talk, self.panel.question]

    @property
    def outputs(self) -> list[Any]:
        """Every component that `ask` may change."""
        return [self.stop, *self.ask_panel.outputs, *self.panel.outputs]

    def ask(self, talk: Talk | None, question: str) -> Iterator[Changes]:
        """Put one question to both arms. On bad input, and when it is stopped, the talk stays as it was."""
        if talk is None:
            yield self.ask_panel.idle("Ask about a picture first.", failed=True)
            return
        stop = threading.Event()
        yield {self.stop: stop} | self.ask_panel.running("Both answer over what they have read…")
        try:
            turns_of_both = ahead(self._turns(talk, question, stop), stop)
            with refusing(), ends_when_they_leave(stop), closing(turns_of_both) as turns:
                for turn in at_most_every(SECONDS_BETWEEN_REDRAWS, turns):
                    yield self.panel.show(talk, turn)
            said = {self.panel.question: ""} if not stop.is_set() else {}
            sentence = STOPPED if stop.is_set() else "Done. Follow up again, or ask a new question."
            yield self.panel.show(talk) | said | self.ask_panel.idle(sentence)
        except Refusal as refusal:
            yield self.panel.show(talk) | self.ask_panel.idle(str(refusal), failed=True)
        finally:
            stop.set()

    def _turns(self, talk: Talk, question: str, stop: threading.Event) -> Generator[Turn]:
        """Takes its turn on the device first: until then another talk may be using its caches."""
        self.last.becomes(talk)
        yield from talk.ask(question, stop)
