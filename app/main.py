"""Entry of the Space, and what `python -m app` calls: load the model, open the page."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":  # run as a file, the rooms of the house are not importable yet
    sys.path[0] = str(ROOT)

from app import ON_ZERO_GPU  # noqa: E402, I001  before gradio and torch, see there
import gradio as gr  # noqa: E402
from skipcore import InputError, Vlm, load  # noqa: E402
from skipcore.inputs import MAX_BYTES  # noqa: E402

from app.models import chosen_model  # noqa: E402
from app.page import build_page  # noqa: E402
from app.shelf import Shelf  # noqa: E402
from app.theme import CSS, theme  # noqa: E402
from app.zero_gpu import lend  # noqa: E402

MAX_WAITING = 32
# A visitor's last report stays in memory until then, with its pictures; whoever asked longest ago is forgotten first.
MAX_VISITORS = 100
SECONDS_BETWEEN_LOOKS = 0.02


def serving() -> dict[str, Any]:
    """How Gradio serves a page, alone or beside another."""
    return {
        "ssr_mode": False,
        "show_error": False,
        "max_file_size": MAX_BYTES,
        "enable_monitoring": False,
        "run_history": False,
        "footer_links": ["api", "settings"],
        "theme": theme(),
        "css_paths": CSS,
    }


def with_limits(page: gr.Blocks) -> gr.Blocks:
    """The page with a line and a memory of limited length."""
    # Nobody gets by the line: Gradio also takes calls that skip it, if it is not told.
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=4, api_open=False)
    # Gradio looks a thousand times a second whether someone waits, also while a run is measured.
    page._queue.sleep_when_free = SECONDS_BETWEEN_LOOKS
    page._queue.progress_update_sleep_when_free = SECONDS_BETWEEN_LOOKS
    page.state_session_capacity = MAX_VISITORS
    return page


def start(
    page: gr.Blocks,
    host: str | None = None,
    port: int | None = None,
    *,
    mcp: bool = False,
    shelf: Shelf | None = None,
) -> str:
    """Serve a page in the background, safe for the public internet; returns its address.

    Args:
        host: default: this machine only, or what `GRADIO_SERVER_NAME` says.
        port: default: the first free one from 7860 on, or what `GRADIO_SERVER_PORT` says.
        mcp: offer the API as MCP tools too, at `/gradio_api/mcp/`.
        shelf: whose pages come beside this one.

    Raises:
        InputError: the package that MCP needs is missing, or the port or host cannot be had.
    """
    if port is not None and not 0 <= port < 2**16:
        raise InputError(f"A port is a whole number from 0 to {2**16 - 1}, not {port}.")
    if mcp and find_spec("mcp") is None:
        raise InputError('The MCP server needs another package: pip install "gradio[mcp]"')
    try:
        app, address, _ = with_limits(page).launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            mcp_server=mcp,
            state_session_capacity=MAX_VISITORS,
            **serving(),
        )
    except OSError as error:
        raise InputError("The page cannot listen there: choose another --port, or another --host.") from error
    if shelf is not None:
        shelf.serve_on(app)
    return address


def page_beside(vlm: Vlm, shelf: Shelf) -> gr.Blocks:
    """The page of a model that a visitor has loaded."""
    return with_limits(build_page(vlm, shelf=shelf))


def main(
    model: str | None = None,
    host: str | None = None,
    port: int | None = None,
    *,
    calibration: str | Path | None = None,
    device: str | None = None,
    mcp: bool = False,
    one_model: bool = False,
) -> None:
    """Load the model, serve the page and print its address; returns when it is interrupted.

    Args:
        model: see `chosen_model`.
        one_model: let no visitor load another; always so on ZeroGPU, which knows only what was there at its start.

    Raises:
        InputError: the model cannot be loaded, or what `mcp` needs is missing.
    """
    vlm = load(chosen_model(model), calibration=calibration, device=device)
    if ON_ZERO_GPU:
        import spaces

        lend(vlm, spaces.GPU)
    shelf = None if one_model or ON_ZERO_GPU else Shelf(vlm, page_beside, serving(), device)
    page = build_page(vlm, shelf=shelf)
    print(f"The page is ready: {start(page, host, port, mcp=mcp, shelf=shelf)}", flush=True)
    page.block_thread()


if __name__ == "__main__":
    from app.__main__ import run

    sys.exit(run())
