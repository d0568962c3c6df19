"""A stopwatch outside: does a client see the first token when the page says so? `python -m app.stopwatch`.

The client times each answer's prefill from the message that its timed run begins to the message with its first token.
Both messages cross Gradio and the network; what that adds is measured on the same page with a model that takes next to
no time, and taken off.
"""

from __future__ import annotations

import argparse
import io
import json
from statistics import median
from typing import Any

from PIL import Image

from app.main import start
from app.models import BUILT_IN_FOLDER
from app.over_http import ANSWERS, Visitor
from app.page import build_page
from profiling.random_models import DecoderSize, random_llava
from skipcore import Vlm, load


def prefill_times(vlm: Vlm, answers: int) -> tuple[list[float], list[float]]:
    """Prefill of the dense answer as a client sees it and as the page reports it, in milliseconds, answer by answer."""
    page = build_page(vlm)
    visitor = Visitor(start(page, host="127.0.0.1"))
    buffer = io.BytesIO()
    Image.effect_noise((96, 96), 80).save(buffer, "PNG")
    picture, outside, inside = visitor.upload(buffer.getvalue()), [], []
    for _ in range(answers):
        quick = {"longest_answer_in_tokens": 2, "timed_runs_of_each": 1}
        messages = list(visitor.ask(picture, "what is it?", **quick))
        begun = next(each for each in messages if "Dense: timed run" in visitor.shown(each, "notice"))
        after = messages[messages.index(begun) + 1 :]
        before = visitor.shown(begun, ANSWERS[0])
        first = next(each for each in after if visitor.shown(each, ANSWERS[0]) != before)
        outside.append(1000 * (first.arrived - begun.arrived))
        inside.append(_report(page, visitor).arms[0].prefill_ms)
    visitor.close()
    page.close(verbose=False)
    return outside, inside


def _report(page: Any, visitor: Visitor) -> Any:
    """The visitor's last report, as the server keeps it."""
    states = page.state_holder[visitor.session].state_data.values()
    return next(each for each in states if hasattr(each, "arms"))


def compare_clocks(vlm: Vlm, answers: int) -> dict[str, float | int]:
    """Medians over the answers, in milliseconds; `difference` is what is left after the share of Gradio and network,
    as a share of the reported prefill. What other processes add only ever makes a way longer, so the share and what is
    left are the least of all answers."""
    idle = random_llava(DecoderSize(64, 2, 2, 2), image_size=64, patch_size=16, vision_width=32)
    share = min(one - other for one, other in zip(*prefill_times(idle, answers), strict=True))
    outside, inside = prefill_times(vlm, answers)
    seen, reported = median(outside), median(inside)
    left = min(one - other for one, other in zip(outside, inside, strict=True)) - share
    return {
        "answers": answers,
        "client_ms": seen,
        "reported_prefill_ms": reported,
        "share_of_gradio_and_network_ms": share,
        "difference": left / reported,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m app.stopwatch", description=__doc__)
    parser.add_argument("--model", default=str(BUILT_IN_FOLDER), help="model folder or Hub id (default: built-in)")
    parser.add_argument("--answers", type=int, default=20, help="of each model (default: 20)")
    options = parser.parse_args()
    print(json.dumps(compare_clocks(load(options.model), options.answers)))
