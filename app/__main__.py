"""The one entry of the page: `python -m app` on this machine, and `python app/__main__.py` as a Space runs it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__" and not __package__:  # run as a file, the project's packages are not importable yet
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from app import ON_ZERO_GPU  # noqa: I001  before gradio and torch, see there
from skipcore import command_line, load

from app.page import build_page
from app.server.launch import start
from app.server.models import BUILT_IN, KNOWN, VARIABLE, chosen_model
from app.server.pool import ModelPool
from app.server.zero_gpu import lend


def run(arguments: list[str] | None = None) -> int:
    """Open the page; returns the exit status (see `skipcore.command_line`; 2 for a model that cannot be loaded)."""
    return command_line.run(lambda: _open(arguments))


def _open(arguments: list[str] | None) -> None:
    """Load the model, serve the page and print its address; returns when it is interrupted."""
    options = _parser().parse_args(arguments)
    vlm = load(chosen_model(options.model), calibration=options.calibration, device=options.device)
    if ON_ZERO_GPU:
        import spaces

        lend(vlm, spaces.GPU)
    # ZeroGPU knows only what was there at its start.
    pool = ModelPool(vlm, options.device, () if options.one_model or ON_ZERO_GPU else KNOWN)
    page = build_page(pool)
    print(f"The page is ready: {start(page, options.host, options.port, mcp=options.mcp)}", flush=True)
    page.block_thread()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app", description="The Skip-Vision page.")
    parser.add_argument(
        "--model", help=f'folder, Hub id or "{BUILT_IN}" (default: what {VARIABLE} says, or the built-in model)'
    )
    parser.add_argument("--calibration", help="what `python -m skipcore calibrate` wrote for the model")
    parser.add_argument("--device", help='such as "cuda:1"; "auto" spreads a large model over GPUs, CPU and disk')
    parser.add_argument("--host", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860 on)")
    parser.add_argument("--mcp", action="store_true", help="offer the API as MCP tools too (needs gradio[mcp])")
    parser.add_argument("--one-model", action="store_true", help="let no visitor of the page load another model")
    return parser


if __name__ == "__main__":
    sys.exit(run())
