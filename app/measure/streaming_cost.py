"""What streaming costs: time per token of an answer that is shown while it is made, over that of one nobody sees.
`python -m app.measure.streaming_cost`.

Each round measures one comparison alone, with nothing listening, and one through a served page that a client in
another process reads; every other round the other way round.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from statistics import median
from threading import Event
from typing import Any

from PIL import Image

from app.measure.served import served
from app.page import build_page
from app.server.models import BUILT_IN_FOLDER
from app.server.pace import ahead
from profiling import Report, compare
from profiling.bench.session_cost import PairedRatio
from profiling.machine import device_facts
from skipcore import Vlm, load
from skipcore.model.hardware import versions

PICTURE = BUILT_IN_FOLDER.parent.parent / "examples" / "gray-triangle.png"
QUESTION = "Describe the picture."
NO_TOKEN = -1


def streaming_cost(vlm: Vlm, rounds: int, new_tokens: int) -> dict[str, Any]:
    """Measure it.

    Args:
        vlm: its answers have no end meanwhile, so that all are of one length.
        rounds: of one pair each, after one that warms up.
        new_tokens: of every answer.

    Returns:
        For each arm the ratio of the times per output token, served / alone: its median over the rounds, the 95%
        interval of that, and how single rounds vary; and the medians in milliseconds.
    """
    buffer = io.BytesIO()
    Image.open(PICTURE).save(buffer, "PNG")
    picture, page = buffer.getvalue(), build_page(vlm)

    def alone() -> Report:
        on_device = ahead((compare(vlm, picture, QUESTION, max_new_tokens=new_tokens) for _ in range(1)), Event())
        with closing(on_device):
            return next(on_device)

    def streamed() -> Report:
        with served(page) as site:
            _, report = site.ask(picture, QUESTION, longest_answer_in_tokens=new_tokens, timed_runs_of_each=1)
        return report

    with endless(vlm):
        pairs = [_pair(streamed, alone, number) for number in range(-1, rounds)][1:]
    arms = {}
    for number, arm in enumerate(pairs[0][0].arms):
        served_ms, alone_ms = ([_tpot_ms(report, number) for report in way] for way in zip(*pairs, strict=True))
        ratio = asdict(PairedRatio.of(served_ms, alone_ms))
        arms[arm.name] = ratio | {"served_ms": median(served_ms), "alone_ms": median(alone_ms)}
    return {"new_tokens": new_tokens, "device": device_facts(vlm), "versions": versions(), "tpot_ratio": arms}


@contextmanager
def endless(vlm: Vlm) -> Iterator[None]:
    """Inside, no token ends an answer."""
    config = vlm.model.generation_config
    own = config.eos_token_id
    config.eos_token_id = NO_TOKEN
    try:
        yield
    finally:
        config.eos_token_id = own


def _pair(run: Callable[[], Report], against: Callable[[], Report], number: int) -> tuple[Report, Report]:
    """Both, the second one first in every other round."""
    if number % 2 == 0:
        return run(), against()
    last = against()
    return run(), last


def _tpot_ms(report: Report, arm: int) -> float:
    time = report.arms[arm].tpot_ms
    assert time is not None  # answers are longer than one token
    return time


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m app.measure.streaming_cost", description=__doc__)
    parser.add_argument("--model", default=str(BUILT_IN_FOLDER), help="model folder or Hub id (default: built-in)")
    parser.add_argument("--rounds", type=int, default=30, help="pairs of runs (default: 30)")
    parser.add_argument("--new-tokens", type=int, default=64, help="of every answer (default: 64)")
    options = parser.parse_args()
    print(json.dumps(streaming_cost(load(options.model), options.rounds, options.new_tokens)))
