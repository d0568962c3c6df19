"""A page that is served for as long as something measures it, and a client in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app import ASSETS
from app.runs.ask import Finished
from app.server.gradio_internals import session_states
from app.server.launch import start
from profiling import Report


@dataclass(frozen=True)
class Seen:
    """What a client saw at a moment.

    Attributes:
        arrived: seconds on the client's clock.
        notice: the line that says how the run goes.
        answers: text of both cards.
    """

    arrived: float
    notice: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Served:
    """A page at an address of this machine."""

    page: gr.Blocks
    address: str

    def ask(self, picture: bytes, question: str, **changes: Any) -> tuple[list[Seen], Report]:
        """Have a client ask, whose work takes no time from the page's interpreter.

        Args:
            picture: a PNG file.
            changes: see `Visitor.ask`.

        Returns:
            What the client saw, and the report as the page keeps it.

        Raises:
            RuntimeError: there was no answer.
        """
        call = {"picture": b64encode(picture).decode(), "question": question, "changes": changes}
        command = [sys.executable, "-m", "app.measure.over_http", self.address]
        client = subprocess.run(
            command, input=json.dumps(call), stdout=subprocess.PIPE, text=True, check=True, cwd=ASSETS.parent
        )
        answer = json.loads(client.stdout)
        seen = [Seen(each["arrived"], each["notice"], tuple(each["answers"])) for each in answer["messages"]]
        states = session_states(self.page, answer["session"])
        finished = next((each for each in states if isinstance(each, Finished)), None)
        if finished is None:
            raise RuntimeError(f"The page gave no report: {seen[-1].notice}")
        return seen, finished.report


@contextmanager
def served(page: gr.Blocks) -> Iterator[Served]:
    """Inside, the page is served; outside, nothing listens."""
    address = start(page, host="127.0.0.1")
    try:
        yield Served(page, address)
    finally:
        page.close(verbose=False)
