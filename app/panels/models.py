"""Models: which one runs on this page, which others there are with the memory each needs, and loading one of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import gradio as gr

from app.markup import html_table
from app.page_model import PageModel
from app.panels import AT_ONCE, QUIET, Changes
from app.panels.components import RunControls
from app.server.models import VARIABLE, address_of, models_for, running_model
from app.server.pool import ModelPool
from app.server.refusals import Refusal, refusing
from app.server.visitors import ends_when_they_leave

MEMORY = (
    "Memory is of the weights, in bfloat16 on a GPU and in float32 on the CPU; pictures and answers need some more."
)
ONE_MODEL = (
    "One model runs for everybody. The owner of the page chooses it: <code>python -m app --model NAME</code>, or "
    f"<code>{VARIABLE}</code> in the environment, as on a Space. {MEMORY}"
)
ONE_MORE = (
    "Choose a model for this page; other visitors keep theirs. One more is loaded beside the first, and stays so while "
    "somebody uses it, until another takes its place; all models take turns on the device. The first load fetches the "
    f"files from the Hub, which needs a network. {MEMORY}"
)
HEAD = ("Model", "family", "weights", "memory on a GPU", "on the CPU", "good for")
CALM = "Choose a model; one that is not loaded yet takes a moment."
QUEUE: dict[str, Any] = {"concurrency_id": "models", "concurrency_limit": 1}


class ModelsPanel:
    """A table of models, folded away; with a choice among them where more than one can be loaded.

    Attributes:
        chosen: the name of the visitor's model.
        changed: the same, right after the choice has changed what the page must show; None otherwise.
    """

    def __init__(self, pool: ModelPool) -> None:
        self._pool, first = pool, pool.first
        self.chosen, self.changed = gr.State(first.name), gr.State(None)
        with gr.Accordion(_title(first), open=False, elem_id="models") as self.fold:
            gr.HTML(f"<p class='intro'>{ONE_MORE if pool.names else ONE_MODEL}</p>")
            if pool.names:
                self._choice = gr.Dropdown(
                    [first.name, *pool.names], value=first.name, label="Model", elem_id="model-choice"
                )
                self._controls = RunControls("model", "Load", CALM, "Stopped; what was fetched is kept.")
                self._unload = gr.Button("Unload", size="md", visible=False, elem_id="model-unload")
            self._table = gr.HTML(models_table(models_for(first.vlm)), elem_id="model-table")
        self.outputs: list[Any] = []
        if pool.names:
            seen = [self.chosen, self.changed, self._choice, self._unload, self._table]
            self.outputs = [self.fold, *self._controls.outputs, *seen]

    def wire(self, show: Callable[..., Changes], inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Let the choice change the page.

        Args:
            show: takes `changed`, then the inputs; changes the outputs.
        """
        if not self._pool.names:
            return
        changed = self.outputs[1:]
        seen = [output for output in changed if output not in self._controls.outputs]
        for event in (
            self._choice.input(self.choose, self._choice, changed, **AT_ONCE),
            self._controls.wire(self.load, [self._choice], seen, "In line: another model is being loaded…", QUEUE),
            self._unload.click(self.unload, self.chosen, changed, **QUIET, **QUEUE),
        ):
            event.success(show, [self.changed, *inputs], outputs, **AT_ONCE)

    def title(self, model: PageModel) -> Changes:
        """Which model it is, on the folded panel."""
        return {self.fold: gr.update(label=_title(model))}

    def open(self, request: gr.Request) -> Changes:
        """The choice as it stands when a visitor comes: the model that the address names, where it is loaded; where it
        is not, the panel is open and says so."""
        if not self._pool.names:
            return {}
        wanted = address_of(request.query_params.get("model", ""))
        every = (self._pool.first.name, *self._pool.names)
        name = next((each for each in every if address_of(each) == wanted), None)
        if name is None:
            return self._seen()
        if name in self._pool.loaded:
            return self._use(name, request)
        asked = self._controls.idle(f"{name} is not loaded: press Load.", failed=True)
        return self._seen() | {self.fold: gr.update(open=True), self._choice: name} | asked

    def choose(self, name: str, request: gr.Request) -> Changes:
        """Use a loaded model at once; say how to load another one."""
        if name in self._pool.loaded:
            return self._use(name, request) | self._controls.idle(f"{name} answers from now on.")
        return {self.changed: None} | self._controls.idle(f"{name} is not loaded: press Load.")

    def load(self, name: str, request: gr.Request) -> Iterator[Changes]:
        """Load a model, tell how it goes, and use it."""
        stop, session = threading.Event(), str(request.session_hash)
        yield {self._controls.stop: stop, self.changed: None} | self._controls.running("Looking for the model…")
        try:
            with refusing(), ends_when_they_leave(stop), closing(self._pool.fetch(name, session, stop)) as steps:
                for sentence in steps:
                    yield self._controls.running(sentence)
                if not stop.is_set():
                    yield self._controls.running(f"Reading the weights of {name}…", can_stop=False)
                    self._pool.load(name, session)
            if name in self._pool.loaded:
                yield self._controls.idle(f"{name} is loaded.") | self._use(name, request)
            else:
                yield self._controls.ended(stop) | self._seen()
        except Refusal as refusal:
            yield self._controls.idle(str(refusal), failed=True) | self._seen()
        finally:
            stop.set()

    def unload(self, chosen: str, request: gr.Request) -> Changes:
        """Unload the model beside the first, and say so or why not; a visitor who used it goes on with the first."""
        try:
            with refusing():
                name = self._pool.unload(str(request.session_hash))
        except Refusal as refusal:
            return {self.changed: None} | self._controls.idle(str(refusal), failed=True) | self._seen()
        used = self._use(self._pool.first.name, request) if chosen == name else {self.changed: None} | self._seen()
        return used | self._controls.idle(f"{name} is unloaded; its memory is free.")

    def _use(self, name: str, request: gr.Request) -> Changes:
        self._pool.choose(name, str(request.session_hash))
        return self._seen() | {self.chosen: name, self.changed: name, self._choice: name}

    def _seen(self) -> Changes:
        """What is loaded, now."""
        addresses = self._pool.addresses
        return {
            self._unload: gr.update(visible=len(addresses) > 1),
            self._table: models_table(models_for(self._pool.first.vlm, addresses)),
        }


def _title(model: PageModel) -> str:
    facts = running_model(model.vlm)
    return f"Model: {model.name} ({facts.family}, {_weights(facts.weights)} weights)"


def models_table(models: Sequence[dict[str, Any]]) -> str:
    """What `models_for` says, for people."""
    return html_table(HEAD, [model_row(each) for each in models])


def model_row(model: dict[str, Any]) -> list[str]:
    """One of `models_for` as cells of plain text."""
    state = " (runs here)" if model["runs_here"] else " (loaded)" if model["address"] else ""
    return [
        model["name"] + state,
        model["family"],
        _weights(model["weights"]),
        _memory(model["gib_bfloat16"]),
        _memory(model["gib_float32"]),
        model["about"],
    ]


def _weights(count: float) -> str:
    return f"{count / 1e9:.2f} billion" if count >= 1e8 else f"{count / 1e6:.1f} million"


def _memory(gib: float) -> str:
    return f"{gib:.1f} GiB" if gib >= 0.1 else f"{gib * 1024:.0f} MiB"
