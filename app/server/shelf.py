"""Which models are loaded: the first one for good, and one more beside it while somebody wants it.

Each has a page of its own, built alike, so that a visitor who loads another model takes nothing from anybody: the first
is at /, the other at /models/NAME/. All their runs take turns on the device.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import gradio as gr
from anyio import from_thread
from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from gradio.routes import App
from starlette.requests import Request
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app.panels import QUIET
from app.server.device import device_held
from app.server.fetching import fetch, folder_of, size
from app.server.models import BUILT_IN, BUILT_IN_FOLDER, GIB, KNOWN, KnownModel, running_model
from app.server.pace import ahead
from app.server.refusals import release_memory
from skipcore import InputError, Vlm
from skipcore import load as load_model
from skipcore.model.hardware import free_bytes
from skipcore.model.load import default_device

Made = TypeVar("Made")
RESERVE_GIB = 1
"""Memory that stays free beside the weights."""


@dataclass(eq=False)
class Shelved:
    """The model beside the first, with its page.

    Attributes:
        visitors: sessions that have its page open.
        closed: set it to take the page from the server.
        served: ends then, or with the server.
    """

    vlm: Vlm
    page: gr.Blocks
    visitors: set[str] = field(default_factory=set)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    served: asyncio.Task[None] | None = None

    @property
    def is_in_use(self) -> bool:
        """Whether somebody has the page open, or waits for an answer through its API."""
        queue = self.page._queue
        return bool(self.visitors) or len(queue) > 0 or any(job is not None for job in queue.active_jobs)

    def count_visitors(self) -> None:
        """Know from now on who has the page open."""

        left_early: set[str] = set()  # a tab that is closed as it opens may leave before it arrives

        def arrive(request: gr.Request) -> None:
            if request.session_hash not in left_early:
                self.visitors.add(str(request.session_hash))

        def leave(request: gr.Request) -> None:
            session = str(request.session_hash)
            self.visitors.discard(session) if session in self.visitors else left_early.add(session)

        with self.page:
            self.page.load(arrive, queue=False, **QUIET)
            self.page.unload(leave)


class Shelf:
    """Loads and unloads the models that visitors choose.

    Args:
        first: the model that is there from the start.
        build: makes the page of a model.
        serving: options of Gradio for that page.
        device: of the models; see `skipcore.load`.
        known: the only models that can be named.
    """

    def __init__(
        self,
        first: Vlm,
        build: Callable[[Vlm, Shelf], gr.Blocks],
        serving: dict[str, Any],
        device: str | None = None,
        known: Sequence[KnownModel] = KNOWN,
    ) -> None:
        self.first = running_model(first).name
        self._known = {model.name: model for model in known if model.name != self.first}
        self._build, self._serving, self._device = build, serving, device
        self._other: Shelved | None = None
        self._app: App | None = None
        self._changing = threading.Lock()

    @property
    def names(self) -> list[str]:
        """Of the models that can be loaded beside the first."""
        return list(self._known)

    @property
    def addresses(self) -> dict[str, str]:
        """Where the page of each loaded model is on this server."""
        other = self._other
        return {self.first: "/"} | ({} if other is None else {other.vlm.name: address_of(other.vlm.name)})

    def serve_on(self, app: App) -> None:
        """Put the pages to come beside that of the first model.

        Args:
            app: of the first model's page, which is served already.
        """
        self._app = app
        # Before Gradio's own routes: one of those takes whatever is left.
        app.router.routes.insert(0, Route("/models/{name}", self._not_there))
        app.router.routes.insert(0, Route("/models/{name}/", self._not_there))

    def fetch(self, name: str, stop: threading.Event) -> Generator[str, None, None]:
        """Have a model's files on this machine; yields sentences of progress.

        Args:
            stop: ends it soon; what has arrived stays.

        Raises:
            InputError: the model is not in the list, cannot be had or does not fit, or another is in use.
        """
        model = self._listed(name)
        if name in self.addresses:
            return
        with _one_at_a_time(self._changing):
            self._check_room()
            self._check_memory(model)
            yield f"Looking for the files of {name}…"
            for arrived, missing in fetch(name, stop) if name != BUILT_IN else ():
                yield f"Fetching {name}: {size(arrived)} of {size(missing)}…"

    def open(self, name: str) -> None:
        """Load a model that was fetched, in the place of the other one, and open its page.

        Raises:
            InputError: the model is not in the list or cannot be loaded, or another is in use.
        """
        self._listed(name)
        if name in self.addresses:
            return
        with _one_at_a_time(self._changing):
            folder = BUILT_IN_FOLDER if name == BUILT_IN else folder_of(name)
            self._remove()
            [shelved] = ahead(self._made(name, folder), threading.Event())
            _outside_the_event(from_thread.run, self._open, shelved)
            self._other = shelved

    def unload(self, name: str) -> None:
        """Close a model's page and free its memory.

        Raises:
            InputError: it is not loaded, is the first, or somebody has its page open.
        """
        with _one_at_a_time(self._changing):
            if self._other is None or self._other.vlm.name != name:
                raise InputError(f"{name} is not loaded, or stays loaded as the model of this page.")
            self._check_room()
            self._remove()

    def _listed(self, name: Any) -> KnownModel:
        model = self._known.get(name) if isinstance(name, str) else None
        if model is None:
            raise InputError("Choose one of the models in the list.")
        return model

    def _check_memory(self, model: KnownModel) -> None:
        """Before anything is fetched. The other model's memory is free by then."""
        if self._device == "auto":  # accelerate spreads it, also over the disk
            return
        device = default_device(self._device)
        bytes_each = 2 if device.type == "cuda" else 4
        other = 0 if self._other is None else sum(each.nbytes for each in self._other.vlm.model.parameters())
        most = max(0, free_bytes(device) + other - RESERVE_GIB * GIB) / bytes_each
        if model.weights > most:
            raise InputError(
                f"{model.name} takes {model.weights * bytes_each / GIB:.1f} GiB of memory, and {RESERVE_GIB} GiB must "
                f"stay free for pictures and answers: load it elsewhere, or choose a model of at most {most / 1e9:.1f} "
                "billion weights."
            )

    def _check_room(self) -> None:
        if self._other is not None and self._other.is_in_use:
            raise InputError(
                f"{self._other.vlm.name} is in use: one more model fits beside the first, and somebody has its page "
                "open. Use that, or come back when they have closed it."
            )

    def _remove(self) -> None:
        """Close the other page and free its memory, while nothing runs on it."""
        with device_held():
            self._check_room()  # once more: somebody may have come meanwhile
            other, self._other = self._other, None
            if other is not None:
                from_thread.run(self._close, other)
                release_memory()

    def _made(self, name: str, folder: Path) -> Generator[Shelved, None, None]:
        vlm = replace(load_model(folder, device=self._device), name=name)
        shelved = Shelved(vlm, _outside_the_event(self._build, vlm, self))
        _outside_the_event(shelved.count_visitors)
        yield shelved

    async def _open(self, shelved: Shelved) -> None:
        serves: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        shelved.served = asyncio.create_task(self._serve(shelved, serves))
        await asyncio.wait([serves, shelved.served], return_when=asyncio.FIRST_COMPLETED)
        if shelved.served.done():
            shelved.served.result()  # says what went wrong

    async def _serve(self, shelved: Shelved, serves: asyncio.Future[None]) -> None:
        """As a task, which also ends with the server."""
        assert self._app is not None, "serve_on comes first"
        address = address_of(shelved.vlm.name)
        path = address.rstrip("/")
        root = self._app.get_blocks().root_path.rstrip("/") + path
        # An app of its own for what mounting changes, so that nothing of it stays when its page is closed.
        around = gr.mount_gradio_app(FastAPI(), shelved.page, path, root_path=root, **self._serving)
        [mounted] = (each for each in around.router.routes if isinstance(each, Mount))
        route = Route(address + "{rest:path}", _AtItsRoot(mounted.app))
        async with around.router.lifespan_context(around):
            self._app.router.routes.insert(0, route)
            try:
                serves.set_result(None)
                await shelved.closed.wait()
            finally:
                self._app.router.routes.remove(route)
                shelved.page.close(verbose=False)
                # Both pages have their uploads in one folder, by content: the first deletes them when their time comes.
                self._app.get_blocks().upload_file_set.update(*shelved.page.temp_file_sets)
                shelved.page.temp_file_sets.clear()

    async def _close(self, shelved: Shelved) -> None:
        assert shelved.served is not None
        shelved.closed.set()
        await shelved.served
        # FastAPI's own caches may hold the page for long; what is large of it goes now.
        shelved.page.state_holder.session_data.clear()
        if not hasattr(shelved.vlm.model, "hf_device_map"):  # accelerate does not let go of what it has spread
            shelved.vlm.model.to("meta")

    def _not_there(self, request: Request) -> RedirectResponse:
        """The first model's page, which says how to load the one that the address names; or that one's page, where only
        the slash is missing. The rest of the query goes on."""
        name, query = request.path_params["name"], dict(request.query_params)
        has_slash = request.url.path.endswith("/")
        if not has_slash and address_of(name) in self.addresses.values():
            return RedirectResponse(f"{quote(name)}/?{urlencode(query)}")
        return RedirectResponse(f"{'../../' if has_slash else '../'}?{urlencode({'model': name} | query)}")


class _AtItsRoot:
    """A page's app, called as if it were alone on its server: its own `root_path` says where it really is.

    Mounted, it would look for its address behind that `root_path`, which a proxy may have taken off the path or not.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = "/" + scope["path_params"]["rest"]
        await self._app({**scope, "path": path, "root_path": "", "path_params": {}}, receive, send)


def address_of(name: str) -> str:
    """ "/models/SmolVLM-256M-Instruct/": what the models of the list are called without their makers differs."""
    return f"/models/{quote(name.rsplit('/', 1)[-1])}/"


def _outside_the_event(function: Callable[..., Made], *arguments: Any) -> Made:
    """In a context of its own: within an event Gradio takes new components for changes of old ones."""
    return Context().run(function, *arguments)


@contextmanager
def _one_at_a_time(lock: threading.Lock) -> Iterator[None]:
    if not lock.acquire(blocking=False):
        raise InputError("Another model is just being loaded or unloaded: try again when that is done.")
    try:
        yield
    finally:
        lock.release()
