"""A stopwatch outside: does a client see the first token when the page says so? `python -m app.measure.stopwatch`.

The client, a process of its own, takes the time between messages of one answer: from the one that the vision tower
begins to the one that it is done, and from the one that the dense arm's timed run begins to the one with its first
token. Both together are the time to first token. Each message crosses Gradio and the network before and after; what
that adds is measured on the same page with a model that takes next to no time.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from PIL import Image

from app.measure.served import Seen, served
from app.page import build_page
from app.runs.ask import READS, SEES
from app.server.models import BUILT_IN_FOLDER
from profiling.bench.random_models import DecoderSize, random_llava
from profiling.machine import device_facts
from skipcore import Vlm, load
from skipcore.model.hardware import versions

IDLE = DecoderSize(64, 2, 2, 2)
SLOW = DecoderSize(768, 12, 12, 4)
"""Of a decoder beside which messages take no time: the clocks themselves are compared."""


@dataclass(frozen=True)
class Times:
    """Of one answer, in milliseconds.

    Attributes:
        vision: of encoding the picture once.
        prefill: from the projected visual tokens to the first token.
    """

    vision: float
    prefill: float

    @property
    def ttft(self) -> float:
        """Time to first token."""
        return self.vision + self.prefill

    @classmethod
    def seen(cls, messages: Sequence[Seen]) -> Times:
        """What a client sees, of a run with one timed run of each arm."""
        moment: dict[str, float] = {}
        for each in messages:
            moment.setdefault(each.notice, each.arrived)
        begun = next(number for number, each in enumerate(messages) if each.notice.startswith("Dense: timed run"))
        first = next(each for each in messages[begun + 1 :] if each.answers[0] not in ("", messages[begun].answers[0]))
        return cls(1000 * (moment[READS] - moment[SEES]), 1000 * (first.arrived - messages[begun].arrived))


@dataclass(frozen=True)
class Clocks:
    """The same answers on two clocks, the client's and the page's own."""

    client: tuple[Times, ...]
    reported: tuple[Times, ...]

    @classmethod
    def of(cls, vlm: Vlm, answers: int) -> Clocks:
        """Ask so often, after once to warm up."""
        buffer = io.BytesIO()
        Image.effect_noise((96, 96), 80).save(buffer, "PNG")
        quick = {"longest_answer_in_tokens": 2, "timed_runs_of_each": 1}
        client, reported = [], []
        with served(build_page(vlm)) as site:
            for _ in range(answers + 1):
                messages, report = site.ask(buffer.getvalue(), "what is it?", **quick)
                client.append(Times.seen(messages))
                reported.append(Times(report.arms[0].vision_ms, report.arms[0].prefill_ms))
        return cls(tuple(client[1:]), tuple(reported[1:]))

    def differences(self, part: str) -> list[float]:
        """By how much longer the client's clock says, answer by answer; `part` is a name in `Times`."""
        pairs = zip(self.client, self.reported, strict=True)
        return [getattr(one, part) - getattr(other, part) for one, other in pairs]

    def compared(self, part: str, share: float) -> dict[str, float]:
        """Medians over the answers, in milliseconds.

        Args:
            share: of Gradio and network.

        Returns:
            `difference` of the clocks as a share of what is reported, and `beyond_the_share`: as much of it as Gradio
            and network do not explain.
        """
        reported, apart = median(getattr(each, part) for each in self.reported), median(self.differences(part))
        return {
            "client_ms": median(getattr(each, part) for each in self.client),
            "reported_ms": reported,
            "share_of_gradio_and_network_ms": share,
            "difference": apart / reported,
            "beyond_the_share": max(0.0, abs(apart) - share) / reported,
        }


PARTS = ("prefill", "ttft")


def compare_clocks(vlms: Sequence[Vlm], answers: int) -> dict[str, Any]:
    """The clocks on each model, by prefill alone and by the whole time to first token."""
    idle = Clocks.of(random_llava(IDLE, image_size=64, patch_size=16, vision_width=32), answers)
    shares = {part: max(0.0, median(idle.differences(part))) for part in PARTS}
    models = []
    for vlm in vlms:
        clocks = Clocks.of(vlm, answers)
        models.append({"model": vlm.name} | {part: clocks.compared(part, shares[part]) for part in PARTS})
    return {"answers": answers, "device": device_facts(vlms[0]), "versions": versions(), "models": models}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m app.measure.stopwatch", description=__doc__)
    parser.add_argument("--model", default=str(BUILT_IN_FOLDER), help="model folder or Hub id (default: built-in)")
    parser.add_argument("--answers", type=int, default=20, help="of each model (default: 20)")
    options = parser.parse_args()
    print(json.dumps(compare_clocks([load(options.model), random_llava(SLOW)], options.answers)))
