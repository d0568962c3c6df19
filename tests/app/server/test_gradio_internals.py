"""Each use of Gradio beyond its documentation still does what its name says. A failure names what an upgrade broke."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from time import sleep
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio.route_utils import delete_files_created_by_app
from hostile_pictures import PNG
from packaging.requirements import Requirement
from packaging.version import Version
from shared_models import ROOT, noise_picture

from app.measure.over_http import Visitor
from app.server import gradio_internals as internals
from app.server.launch import start

# Gradio 6.31 counts its events in ways that pandas 3 deprecates
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing")
LINE, LONGEST = "device", 30


class Held:
    """A page whose one event goes on when a test lets it, and notes what it knows of its visitor."""

    def __init__(self) -> None:
        self.go_on, self.begun = threading.Event(), threading.Event()
        self.seen: dict[str, Any] = {}
        with gr.Blocks(analytics_enabled=False) as self.page:
            self.state, self.shown = gr.State("at first"), gr.HTML()
            gr.Button().click(
                self.run, None, [self.state, self.shown], api_name="ask", concurrency_id=LINE, concurrency_limit=1
            )
        self.address = start(self.page, host="127.0.0.1")

    def run(self) -> Iterator[dict[Any, Any]]:
        self.seen = {"session": internals.current_session(), "followed": internals.is_followed}
        yield {self.state: "kept", self.shown: "one"}
        self.begun.set()
        while not self.go_on.wait(0.05):
            self.seen["is followed"] = internals.is_followed()
        yield {self.shown: "one, two"}

    @contextmanager
    def let_go(self) -> Iterator[None]:
        """At the end, also where a test fails."""
        try:
            yield
        finally:
            self.go_on.set()


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.go_on.set()
    held.page.close(verbose=False)


def until(true: Callable[[], Any], broken: str) -> None:
    for _ in range(20 * LONGEST):
        if true():
            return
        sleep(0.05)
    raise AssertionError(broken)


def test_the_pinned_version_is_the_tested_one() -> None:
    [pinned] = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("gradio")]
    minor = Version(gr.__version__).release[:2]
    assert gr.__version__ in Requirement(pinned).specifier, f"requirements.txt says {pinned}"
    assert f"{minor[0]}.{minor[1] + 1}" not in Requirement(pinned).specifier, "pin the minor version of Gradio"


def test_set_polling() -> None:
    page = gr.Blocks(analytics_enabled=False).queue()
    names = ("sleep_when_free", "progress_update_sleep_when_free")
    missing = [name for name in names if not hasattr(page._queue, name)]
    assert not missing, f"set_polling: Gradio's queue does not look every {missing} seconds any more"
    internals.set_polling(page, 0.5)
    assert [getattr(page._queue, name) for name in names] == [0.5, 0.5]


def test_the_waiting_line(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """`waiting_sessions`, `is_running` and `is_line_full`."""
    visitors = [Visitor(held.address) for _ in range(2)]
    page = held.page
    assert not internals.is_running(page, LINE), "is_running: a free line counts as busy"
    with ThreadPoolExecutor(2) as pool, held.let_go():
        runs = [pool.submit(lambda: list(visitors[0].events("ask", [])))]
        assert held.begun.wait(LONGEST)
        assert internals.is_running(page, LINE), "is_running: Gradio counts what runs in a line elsewhere"
        runs.append(pool.submit(lambda: list(visitors[1].events("ask", []))))
        waits = [visitors[1].session]
        until(
            lambda: internals.waiting_sessions(page, LINE) == waits,
            "waiting_sessions: Gradio keeps the events that wait in a line elsewhere, or without their session",
        )
        assert not internals.is_line_full(page)
        monkeypatch.setattr(page._queue, "max_size", 1)
        assert internals.is_line_full(page), "is_line_full: Gradio counts what waits elsewhere"
    assert all(run.result() for run in runs)
    assert internals.waiting_sessions(page, "another line") == [] and not internals.is_running(page, "another line")


def test_a_full_line_is_what_gradio_calls_full(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held.page._queue, "max_size", 0)
    [message] = Visitor(held.address).events("ask", [])
    assert message.kind == "refused" and internals.is_line_full(held.page), "is_line_full: `max_size` is not the limit"


def test_session_and_following(held: Held) -> None:
    """`current_session`, `is_followed` and `session_states`."""
    assert internals.current_session() is None and internals.is_followed()
    visitor = Visitor(held.address)
    with closing(visitor.events("ask", [])) as messages:
        next(message for message in messages if message.kind == "process_generating")
        assert held.seen["session"] == visitor.session, "current_session: events do not know their request any more"
        until(lambda: held.seen.get("is followed"), "is_followed: an event that is followed does not count as such")
        states = internals.session_states(held.page, visitor.session)
        assert states == ["kept"], "session_states: Gradio keeps the values of gr.State elsewhere"
    visitor.close()
    until(
        lambda: held.seen["is followed"] is False,
        "is_followed: Gradio does not note at the event that its client's connection has ended",
    )


def test_payload() -> None:
    sent = {"row": 1}
    assert internals.payload(gr.EventData(None, sent)) is sent, "payload: EventData keeps what was sent elsewhere"


def test_upload_folder(held: Held) -> None:
    path = Path(Visitor(held.address).upload(PNG)["path"])
    assert path.is_relative_to(internals.upload_folder()), "upload_folder: Gradio puts uploads elsewhere"


def test_saved_files_are_served_and_deleted() -> None:
    """`save_picture` and `save_download`."""
    with gr.Blocks(analytics_enabled=False) as page:
        picture, button = gr.Image(), gr.DownloadButton()
    saved = {
        "save_picture": internals.save_picture(noise_picture(0), "scene-1", picture),
        "save_download": internals.save_download("content", "figures.csv", button),
    }
    address = start(page, host="127.0.0.1")
    try:
        for name, path in saved.items():
            assert Path(path).is_relative_to(internals.upload_folder()), f"{name}: Gradio's own folder is elsewhere"
            answer = httpx.get(f"{address}gradio_api/file={path}")
            assert answer.status_code == 200, f"{name}: Gradio does not serve its own folder"
        delete_files_created_by_app(page, age=0)
        assert not Path(saved["save_download"]).exists(), "save_download: Gradio does not know the file as its own"
    finally:
        page.close(verbose=False)


def test_keep_samples(tmp_path: Path) -> None:
    file = tmp_path / "sample.png"
    noise_picture(0).save(file)
    with gr.Blocks(analytics_enabled=False) as page:
        picture, thumbnail = gr.Image(), gr.Image(render=False)
        [[sample]] = gr.Dataset(components=[thumbnail], samples=[[str(file)]]).samples
        internals.keep_samples(picture, thumbnail)
    picture.temp_files.add(sample["path"])  # as a click does
    delete_files_created_by_app(page, age=0)
    assert Path(sample["path"]).is_file(), "keep_samples: Gradio deletes what `keep_in_cache` holds"


def test_patched(held: Held) -> None:
    held.go_on.set()
    shown = [message.data[1] for message in Visitor(held.address).events("ask", []) if message.data]
    assert shown[:2] == ["one", "one, two"], "patched: Gradio's differences are of another form"
