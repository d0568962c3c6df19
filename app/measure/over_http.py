"""A visitor of a running page who has no browser: every word goes over HTTP, and every answer is stamped on arrival.

Tests, the soak and the stopwatches see the page from outside through this. It can also send what no browser would.
As a command, `python -m app.measure.over_http ADDRESS`, it asks once, as a JSON object on its input says ("picture":
base64 of a PNG file, "question", "changes"), and prints its session and every message as JSON.
"""

from __future__ import annotations

import json
import re
import sys
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from html import unescape
from time import perf_counter
from typing import Any
from uuid import uuid4

import httpx

from app.server.gradio_internals import patched

ANSWERS = ("answer-0", "answer-1")


class Refused(Exception):
    """What the page said instead of an answer, or nothing where it said nothing."""


@dataclass(frozen=True)
class Message:
    """What the page sent at a moment.

    Attributes:
        arrived: `time.perf_counter()`.
        kind: as Gradio calls it, such as "process_generating".
        data: of every output in order; empty where the message has none.
        error: what was said about a failure.
    """

    arrived: float
    kind: str
    data: list[Any]
    error: str | None = None


class Visitor:
    """One visit with a session of its own.

    Args:
        address: of the running page.
        seconds: how long to wait for any message.
    """

    def __init__(self, address: str, seconds: float = 120) -> None:
        self.session = uuid4().hex
        self.http = httpx.Client(base_url=address, timeout=seconds)
        config = self.http.get("config").json()
        self._components = {each["id"]: each for each in config["components"]}
        self._events = {each["api_name"]: each for each in config["dependencies"]}
        self.inputs = [self._name(number) for number in self._events["ask"]["inputs"]]
        self.outputs = self.outputs_of("ask")

    def outputs_of(self, event: str) -> list[str]:
        """What an event of the page changes, by `elem_id` or label, in order."""
        return [self._name(number) for number in self._events[event]["outputs"]]

    def upload(self, content: bytes, name: str = "picture.png", mime: str = "image/png") -> dict[str, Any]:
        """Send a file.

        Returns:
            What stands for the file in a call.

        Raises:
            Refused: it is not taken; says the HTTP status.
        """
        answer = self.http.post("gradio_api/upload", files={"files": (name, content, mime)})
        if answer.status_code != 200:
            raise Refused(str(answer.status_code))
        return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}

    def compare(self, image: Any, question: Any, **settings: Any) -> dict[str, Any]:
        """Call the API.

        Raises:
            Refused: with the sentence of the refusal.
        """
        given = {"image": image, "question": question} | settings
        *_, last = self.events("compare", [given.get(name, usual) for name, usual in self._parameters.items()])
        if last.error is not None:
            raise Refused(last.error)
        return last.data[0]

    def ask(self, picture: Any, question: Any, **changes: Any) -> Iterator[Message]:
        """Press Ask; what differs from the controls as they stand by `elem_id` or label, spaces as underscores."""
        values = [self._value(number) for number in self._events["ask"]["inputs"]]
        names = [_plain(name) for name in self.inputs]
        for name, value in {"picture": picture, "question": question, **changes}.items():
            values[names.index(_plain(name))] = value
        return self.events("ask", values)

    def shown(self, message: Message, name: str) -> str:
        """The text that an output of `ask` shows, without tags; empty where the message has no data."""
        value = message.data[self.outputs.index(name)] if message.data else ""
        value = value.get("value", "") if isinstance(value, dict) else value
        return unescape(re.sub(r"<[^>]*>", " ", value or "")).strip()

    def events(self, name: str, data: list[Any]) -> Iterator[Message]:
        """Call an event of the page and follow it to its end."""
        joined = self.http.post(
            "gradio_api/queue/join",
            content=json.dumps({"data": data, "fn_index": self._events[name]["id"], "session_hash": self.session}),
            headers={"Content-Type": "application/json"},
        )
        if joined.status_code != 200:
            yield Message(perf_counter(), "refused", [], _said(joined))
            return
        shown: list[Any] = []
        parameters = {"session_hash": self.session}
        with self.http.stream("GET", "gradio_api/queue/data", params=parameters) as stream, closing(stream):
            for line in stream.iter_lines():
                if not line.startswith("data:"):
                    continue
                arrived, message = perf_counter(), json.loads(line.removeprefix("data:"))
                if message.get("event_id") not in (None, joined.json()["event_id"]):
                    continue  # of another call of this visit
                output = message.get("output") or {}
                new = output.get("data") or []
                if message["msg"] == "process_generating":
                    shown = [patched(*each) for each in zip(shown, new, strict=True)] if shown else new
                failed = message["msg"] == "process_completed" and not message["success"]
                data = shown if message["msg"] == "process_generating" else new
                yield Message(arrived, message["msg"], data, str(output.get("error") or "") if failed else None)
                if message["msg"] in ("process_completed", "close_stream", "unexpected_error"):
                    return

    @contextmanager
    def at_the_page(self) -> Iterator[None]:
        """Inside, the page is open, as in a browser: the server notices when the visitor leaves."""
        with self.http.stream("GET", f"gradio_api/heartbeat/{self.session}") as stream:
            lines = stream.iter_lines()
            next(lines)
            yield  # while `lines` lives: the connection ends with it
            del lines

    def close(self) -> None:
        """Leave: no connection stays open."""
        self.http.close()

    @cached_property
    def _parameters(self) -> dict[str, Any]:
        """Of the API: names and defaults, in order."""
        parameters = self.http.get("gradio_api/info").json()["named_endpoints"]["/compare"]["parameters"]
        return {each["parameter_name"]: each.get("parameter_default") for each in parameters}

    def _name(self, number: int) -> str:
        component = self._components[number]
        return component["props"].get("elem_id") or component["props"].get("label") or component["type"]

    def _value(self, number: int) -> Any:
        return self._components[number]["props"].get("value")


def _plain(name: str) -> str:
    return re.sub(r"\W+", "_", name.lower())


def _said(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("detail", ""))
    except ValueError:
        return answer.text


def _ask_once(address: str, call: dict[str, Any]) -> dict[str, Any]:
    """What the command prints."""
    visitor = Visitor(address)
    picture = visitor.upload(b64decode(call["picture"]))
    messages = [
        {
            "arrived": message.arrived,
            "notice": message.error or visitor.shown(message, "notice"),
            "answers": [visitor.shown(message, name) for name in ANSWERS],
        }
        for message in visitor.ask(picture, call["question"], **call["changes"])
    ]
    visitor.close()
    return {"session": visitor.session, "messages": messages}


if __name__ == "__main__":
    print(json.dumps(_ask_once(sys.argv[1], json.load(sys.stdin))))
