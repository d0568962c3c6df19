"""Models: which one runs on this page, which others there are with the memory each needs, and loading one of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from html import escape
from typing import Any

import gradio as gr

from app.markup import html_table
from app.panels import QUIET, Changes
from app.panels.components import RunControls
from app.server.models import VARIABLE, models_for, running_model
from app.server.refusals import Refusal, refusing
from app.server.shelf import Shelf, address_of
from app.server.visitors import ends_when_they_leave
from skipcore import Vlm

MEMORY = (
    "Memory is of the weights, in bfloat16 on a GPU and in float32 on the CPU; pictures and answers need some more."
)
ONE_MODEL = (
    "One model runs for everybody. Whoever runs the page chooses it: <code>python -m app --model NAME</code>, or "
    f"<code>{VARIABLE}</code> in the environment, as on a Space. {MEMORY}"
)
ONE_MORE = (
    "Load another model, and it gets a page of its own, with all that is on this one. It stays loaded while somebody "
    "has its page open, and until another takes its place; all models take turns on the device. The first load fetches "
    f"the files from the Hub, which needs a network. {MEMORY}"
)
HEAD = ("Model", "family", "weights", "memory on a GPU", "on the CPU", "good for")
CALM = "Choose a model, then press Load."
QUEUE: dict[str, Any] = {"concurrency_id": "models", "concurrency_limit": 1}


class ModelsPanel:
    """A table, folded away.

    Args:
        shelf: None where no other model can be loaded; otherwise a menu comes with the table.
    """

    def __init__(self, page: gr.Blocks, vlm: Vlm, shelf: Shelf | None) -> None:
        running = running_model(vlm)
        about = f"Model: {running.name} ({running.family}, {_weights(running.weights)} weights)"
        with gr.Accordion(about, open=False, elem_id="models") as fold:
            gr.HTML(f"<p class='intro'>{ONE_MODEL if shelf is None else ONE_MORE}</p>")
            if shelf is None:
                gr.HTML(models_table(models_for(vlm)))
            else:
                ModelMenu(page, fold, vlm, shelf)


class ModelMenu:
    """Load and unload, and what is loaded."""

    def __init__(self, page: gr.Blocks, fold: gr.Accordion, vlm: Vlm, shelf: Shelf) -> None:
        self._fold, self._vlm, self._shelf, self._here = fold, vlm, shelf, running_model(vlm).name
        choices = [name for name in shelf.names if name != self._here]
        self._choice = gr.Dropdown(choices, value=choices[0], label="Model to load", elem_id="model-choice")
        self._controls = RunControls("model", "Load", CALM, "Stopped; what was fetched is kept.")
        with gr.Row():
            self._links = gr.HTML(elem_id="model-links")
            self._unload = gr.Button("Unload", size="md", scale=0, min_width=120, visible=False, elem_id="model-unload")
        self._table = gr.HTML(elem_id="model-table")
        seen = [self._links, self._unload, self._table]
        changed = [*self._controls.outputs, *seen]
        self._controls.wire(self.load, [self._choice], seen, "In line: another model is being loaded…", QUEUE)
        self._unload.click(self.unload, None, changed, **QUIET, **QUEUE)
        page.load(self.open, None, [fold, self._choice, *changed], queue=False, **QUIET)

    def open(self, request: gr.Request) -> Changes:
        """The menu as it stands when a visitor comes; open where the address names a model that is not loaded."""
        wanted = address_of(dict(request.query_params).get("model", ""))
        name = next((each for each in self._shelf.names if address_of(each) == wanted), None)
        if name is None or name in self._shelf.addresses:
            return self._seen()
        asked = self._controls.idle(f"{name} is not loaded: press Load.", failed=True)
        return {self._fold: gr.update(open=True), self._choice: name} | asked | self._seen()

    def load(self, name: str) -> Iterator[Changes]:
        """Load a model and tell how it goes."""
        stop = threading.Event()
        yield {self._controls.stop: stop} | self._controls.running("Looking for the model…")
        try:
            with refusing(), ends_when_they_leave(stop), closing(self._shelf.fetch(name, stop)) as steps:
                for sentence in steps:
                    yield self._controls.running(sentence)
                if not stop.is_set():
                    yield self._controls.running(f"Reading the weights of {name}…", can_stop=False)
                    self._shelf.open(name)
            is_loaded = name in self._shelf.addresses
            ended = self._controls.idle(f"{name} is loaded.") if is_loaded else self._controls.ended(stop)
            yield ended | self._seen()
        except Refusal as refusal:
            yield self._controls.idle(str(refusal), failed=True) | self._seen()
        finally:
            stop.set()

    def unload(self) -> Changes:
        """Unload the model beside the first, and say so or why not."""
        name = next((each for each in self._shelf.addresses if each != self._shelf.first), "")
        try:
            with refusing():
                self._shelf.unload(name)
            return self._controls.idle(f"{name} is unloaded; its memory is free.") | self._seen()
        except Refusal as refusal:
            return self._controls.idle(str(refusal), failed=True) | self._seen()

    def _seen(self) -> Changes:
        """What is loaded, now."""
        addresses = self._shelf.addresses
        others = {name: address for name, address in addresses.items() if name != self._here}
        return {
            self._links: links_to(others, "." if self._here == self._shelf.first else "../.."),
            self._unload: gr.update(visible=any(name != self._shelf.first for name in others)),
            self._table: models_table(models_for(self._vlm, addresses)),
        }


def links_to(addresses: Mapping[str, str], root: str) -> str:
    """Links to the pages of models.

    Args:
        root: the server's, seen from this page; a proxy may have it at an address of its own.
    """
    return "".join(
        f'<p class="finding"><a href="{escape(root + address)}">Open the page of {escape(name)}</a></p>'
        for name, address in addresses.items()
    )


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
