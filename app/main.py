"""Entry of the Space, and what `python -m app` calls: load the model, open the page."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":  # run as a file, the rooms of the house are not importable yet
    sys.path[0] = str(ROOT)

import app  # noqa: E402, F401, I001  before gradio: it turns Gradio's analytics off
import gradio as gr  # noqa: E402
from skipcore import load  # noqa: E402
from skipcore.inputs import MAX_BYTES  # noqa: E402

from app.page import build_page  # noqa: E402
from app.theme import CSS, theme  # noqa: E402

DEFAULT_MODEL = ROOT / "assets" / "models" / "scenes"
MAX_WAITING = 32
# A visitor's last report stays in memory until then, with its pictures; whoever asked longest ago is forgotten first.
MAX_VISITORS = 100


def start(page: gr.Blocks, host: str | None = None, port: int | None = None) -> str:
    """Serve a page in the background, safe for the public internet; returns its address.

    Args:
        host: default: this machine only, or what `GRADIO_SERVER_NAME` says.
        port: default: the first free one from 7860 on, or what `GRADIO_SERVER_PORT` says.
    """
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=4)
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        show_error=False,
        max_file_size=MAX_BYTES,
        state_session_capacity=MAX_VISITORS,
        enable_monitoring=False,
        run_history=False,
        footer_links=["api", "settings"],
        theme=theme(),
        css_paths=CSS,
    )
    return address


def main(
    model: str | Path = DEFAULT_MODEL,
    host: str | None = None,
    port: int | None = None,
    *,
    calibration: str | Path | None = None,
    device: str | None = None,
) -> None:
    """Load the model, serve the page and print its address; returns when it is interrupted."""
    page = build_page(load(model, calibration=calibration, device=device))
    print(f"The page is ready: {start(page, host, port)}", flush=True)
    page.block_thread()


if __name__ == "__main__":
    main()
