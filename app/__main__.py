"""The page on this machine: `python -m app`."""

from __future__ import annotations

import argparse
import sys

from app.serve import main
from app.server.models import BUILT_IN, VARIABLE
from skipcore import command_line


def run(arguments: list[str] | None = None) -> int:
    """Open the page; returns the exit status (see `skipcore.command_line`; 2 for a model that cannot be loaded)."""
    return command_line.run(lambda: _open(arguments))


def _open(arguments: list[str] | None) -> None:
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
    options = parser.parse_args(arguments)
    main(
        options.model,
        options.host,
        options.port,
        calibration=options.calibration,
        device=options.device,
        mcp=options.mcp,
        one_model=options.one_model,
    )


if __name__ == "__main__":
    sys.exit(run())
