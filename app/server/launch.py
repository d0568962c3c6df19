"""Serve a page in the background, safe for the public internet: with a waiting line and a memory of limited length."""

from __future__ import annotations

from importlib.util import find_spec
from urllib.parse import urlencode

import gradio as gr
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Route

from app.server.gradio_internals import set_polling
from app.theme import CSS, theme
from skipcore import InputError
from skipcore.model.inputs import MAX_BYTES

MAX_WAITING = 32
# A visitor's last report stays in memory until then, with its pictures; the session that asked longest ago goes first.
MAX_VISITORS = 100
SECONDS_BETWEEN_LOOKS = 0.02


def start(page: gr.Blocks, host: str | None = None, port: int | None = None, *, mcp: bool = False) -> str:
    """Serve a page in the background; returns its address.

    Args:
        host: default: this machine only, or what `GRADIO_SERVER_NAME` says.
        port: default: the first free one from 7860 on, or what `GRADIO_SERVER_PORT` says.
        mcp: offer the API as MCP tools too, at `/gradio_api/mcp/`.

    Raises:
        InputError: the package that MCP needs is missing, or the port or host cannot be had.
    """
    if port is not None and not 0 <= port < 2**16:
        raise InputError(f"A port is a whole number from 0 to {2**16 - 1}, not {port}.")
    if mcp and find_spec("mcp") is None:
        raise InputError('The MCP server needs another package: pip install "gradio[mcp]"')
    # Closed to calls that skip the line, which Gradio otherwise takes.
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=4, api_open=False)
    set_polling(page, SECONDS_BETWEEN_LOOKS)
    try:
        app, address, _ = page.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            ssr_mode=False,
            show_error=False,
            max_file_size=MAX_BYTES,
            enable_monitoring=False,
            run_history=False,
            footer_links=["api", "settings"],
            theme=theme(),
            css_paths=CSS,
            mcp_server=mcp,
            state_session_capacity=MAX_VISITORS,
        )
    except OSError as error:
        raise InputError("The page cannot listen there: choose another --port, or another --host.") from error
    # Before Gradio's own routes: one of those takes whatever is left.
    app.router.routes[:0] = [Route("/models/{name}", _with_model), Route("/models/{name}/", _with_model)]
    return address


def _with_model(request: Request) -> RedirectResponse:
    """The page with the model that the address names chosen; the rest of the query goes on."""
    query = {"model": request.path_params["name"]} | dict(request.query_params)
    return RedirectResponse(f"{'../../' if request.url.path.endswith('/') else '../'}?{urlencode(query)}")
