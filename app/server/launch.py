"""Serve a page in the background, safe for the public internet: with a waiting line and a memory of limited length."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import gradio as gr

from app.server.gradio_internals import set_polling
from app.server.shelf import Shelf
from app.theme import CSS, theme
from skipcore import InputError
from skipcore.model.inputs import MAX_BYTES

MAX_WAITING = 32
# A visitor's last report stays in memory until then, with its pictures; the session that asked longest ago goes first.
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
    # Closed to calls that skip the line, which Gradio otherwise takes.
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=4, api_open=False)
    set_polling(page, SECONDS_BETWEEN_LOOKS)
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
