"""Everything that the page uses of Gradio beyond its documentation, in one place.

An upgrade may break any of this without a word, so each function has a test that names it (`test_gradio_internals.py`),
and `requirements.txt` pins the minor version of Gradio that the tests run on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio import processing_utils
from gradio.context import LocalContext
from gradio.utils import get_upload_folder
from gradio_client.utils import apply_diff  # type: ignore[import-untyped]
from PIL import Image


def set_polling(page: gr.Blocks, seconds: float) -> None:
    """Let the queue look this seldom for new work: a thousand times a second, its default, disturbs what is measured.

    Call it after `page.queue` and before `page.launch`.
    """
    page._queue.sleep_when_free = seconds
    page._queue.progress_update_sleep_when_free = seconds


def is_line_full(page: gr.Blocks) -> bool:
    """Return whether the queue turns the next event away: Gradio says so in a toast only, never to the page."""
    most = page._queue.max_size
    return most is not None and len(page._queue) >= most


def waiting_sessions(page: gr.Blocks, concurrency_id: str) -> list[str]:
    """List the sessions that wait in one line, first come first: Gradio tells a visitor's place to its own UI only."""
    line = page._queue.event_queue_per_concurrency_id.get(concurrency_id)
    return [] if line is None else [str(event.session_hash) for event in line.queue]


def is_running(page: gr.Blocks, concurrency_id: str) -> bool:
    """Return whether an event of one line runs now, so that the next one has to wait."""
    line = page._queue.event_queue_per_concurrency_id.get(concurrency_id)
    return line is not None and line.current_concurrency > 0


def current_session() -> str | None:
    """Return whose event this code runs in, also far below the event's function; None outside events."""
    return getattr(LocalContext.request.get(None), "session_hash", None)


def is_followed() -> bool:
    """Return whether a client still waits for the event that this code runs in; True outside events.

    A client without a heartbeat never says that it leaves, but Gradio notes that its connection has ended.
    """
    page, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    event = None if page is None else page._queue.event_ids_to_events.get(str(event_id))
    return event is None or event.alive


def payload(event: gr.EventData) -> Any:
    """Return what a custom event of `gr.HTML` sent, as the browser sent it: the documented attributes of `EventData`
    raise an error of Gradio's own where a hostile client sent something else than a dictionary."""
    return event._data


def upload_folder() -> Path:
    """Return the folder that Gradio puts uploads in, with links resolved: no other file may be opened."""
    return Path(get_upload_folder()).resolve()


def save_picture(picture: Image.Image, name: str, component: gr.Image) -> str:
    """Save a picture as if it had been uploaded to a component, where Gradio serves it and deletes it in time; returns
    its path. An image component given a `PIL.Image` would save it too, but not say where."""
    return processing_utils.save_pil_to_cache(picture, component.GRADIO_CACHE, name=name, format="png")


def save_download(content: str, name: str, button: gr.DownloadButton) -> str:
    """Save a file for a download button, where Gradio serves it and deletes it in time (`Blocks(delete_cache=…)`);
    returns its path. A file elsewhere would be copied there and stay in its own place."""
    path = processing_utils.save_bytes_to_cache(content.encode(), name, button.GRADIO_CACHE)
    button.temp_files.add(path)
    return path


def keep_samples(picture: gr.Image, thumbnail: gr.Image) -> None:
    """Keep a dataset's pictures from the deletion of uploads, as which they count once they were clicked.

    Args:
        picture: the component that a click fills.
        thumbnail: the component of the dataset.
    """
    picture.keep_in_cache |= thumbnail.keep_in_cache


def session_states(page: gr.Blocks, session: str) -> list[Any]:
    """List the values of a session's `gr.State`s, for measurements that need the report behind the page."""
    return list(page.state_holder[session].state_data.values())


def patched(old: Any, difference: Any) -> Any:
    """Return an output's value after a message of a streaming event, which carries differences only; `gradio_client`
    has no public function that keeps all messages."""
    return apply_diff(old, difference)
