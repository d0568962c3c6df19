"""Many runs in a row through the API of a page: does its memory stay flat? `python -m app.soak`."""

from __future__ import annotations

import argparse
import gc
import io
import json
from time import perf_counter

import psutil
from PIL import Image

from app.main import start
from app.models import BUILT_IN_FOLDER
from app.over_http import Visitor
from app.page import build_page
from skipcore import Vlm, load

WARM_UP = 50
"""Runs after which memory is compared: caches and allocators are full by then."""


def soak(vlm: Vlm, runs: int, warm_up: int = WARM_UP) -> dict[str, float | int]:
    """Ask so often, each time as a new picture, and watch the memory of this process, which serves the page.

    Returns:
        `runs`, `warm_up`, resident bytes after the warm-up and at the end, their `growth` as a share, and `seconds`.
    """
    page = build_page(vlm)
    visitor = Visitor(start(page, host="127.0.0.1"))
    started, after_warm_up = perf_counter(), 0
    for run in range(1, runs + 1):
        picture = io.BytesIO()
        Image.new("RGB", (96, 96), (run % 256, run // 256, 90)).save(picture, "PNG")
        visitor.compare(visitor.upload(picture.getvalue()), "what is it?", max_new_tokens=2)
        if run == warm_up:
            after_warm_up = _resident_bytes()
    seconds, at_the_end = perf_counter() - started, _resident_bytes()
    visitor.close()
    page.close(verbose=False)
    return {
        "runs": runs,
        "warm_up": warm_up,
        "resident_bytes_after_warm_up": after_warm_up,
        "resident_bytes_at_the_end": at_the_end,
        "growth": at_the_end / after_warm_up - 1,
        "seconds": seconds,
    }


def _resident_bytes() -> int:
    gc.collect()
    return psutil.Process().memory_info().rss


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m app.soak", description=__doc__)
    parser.add_argument("--model", default=str(BUILT_IN_FOLDER), help="model folder or Hub id (default: built-in)")
    parser.add_argument("--runs", type=int, default=500, help=f"more than {WARM_UP} (default: 500)")
    options = parser.parse_args()
    if options.runs <= WARM_UP:
        parser.error(f"--runs must be more than the {WARM_UP} of the warm-up")
    print(json.dumps(soak(load(options.model), options.runs)))
