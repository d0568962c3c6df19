"""Many runs in a row, by turns through the API and the page: does memory stay flat? `python -m app.measure.soak`."""

from __future__ import annotations

import argparse
import gc
import io
import json
from time import perf_counter
from typing import Any

import psutil
from PIL import Image

from app.measure.over_http import Visitor
from app.measure.served import served
from app.page import build_page
from app.server.models import BUILT_IN_FOLDER
from profiling.machine import device_facts
from skipcore import Vlm, load
from skipcore.model.hardware import versions

WARM_UP = 50
"""Runs after which memory is compared, and between two looks at it: caches and allocators are full by then."""
QUESTION = "what is it?"


def soak(vlm: Vlm, runs: int) -> dict[str, Any]:
    """Ask so often, each time about a new picture, and watch the memory of this process, which serves the page.

    Args:
        runs: a multiple of `WARM_UP`, two of them at least.

    Returns:
        `runs`, `warm_up`, `resident_bytes` after every `WARM_UP` runs, their `growth` as a share, `seconds`, and what
        it ran on.
    """
    resident, started = [], perf_counter()
    with served(build_page(vlm)) as site:
        visitor = Visitor(site.address)
        for run in range(1, runs + 1):
            _ask(visitor, run)
            if run % WARM_UP == 0:
                resident.append(_resident_bytes())
        visitor.close()
    return {
        "runs": runs,
        "warm_up": WARM_UP,
        "growth": growth(resident),
        "resident_bytes": resident,
        "seconds": perf_counter() - started,
        "device": device_facts(vlm),
        "versions": versions(),
    }


def growth(resident: list[int]) -> float:
    """From the first look at the memory to the one that found most, as a share."""
    return max(resident) / resident[0] - 1


def _ask(visitor: Visitor, run: int) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (96, 96), (run % 256, run // 256, 90)).save(picture, "PNG")
    upload = visitor.upload(picture.getvalue())
    if run % 2:
        visitor.compare(upload, QUESTION, max_new_tokens=2)
    else:
        *_, last = visitor.ask(upload, QUESTION, longest_answer_in_tokens=2, timed_runs_of_each=1)
        if last.error is not None:
            raise RuntimeError(f"Run {run} failed: {last.error}")


def _resident_bytes() -> int:
    gc.collect()
    return psutil.Process().memory_info().rss


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m app.measure.soak", description=__doc__)
    parser.add_argument("--model", default=str(BUILT_IN_FOLDER), help="model folder or Hub id (default: built-in)")
    parser.add_argument("--runs", type=int, default=500, help=f"a multiple of {WARM_UP} (default: 500)")
    options = parser.parse_args()
    if options.runs < 2 * WARM_UP or options.runs % WARM_UP:
        parser.error(f"--runs must be a multiple of {WARM_UP}, and more than the {WARM_UP} of the warm-up")
    print(json.dumps(soak(load(options.model), options.runs)))
