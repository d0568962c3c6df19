"""Report: what one comparison measured. The one record behind page, API and command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from profiling.gpu.samples import GpuSample
from profiling.output.record import to_json
from profiling.predict.roofs import Roof
from profiling.predict.work import Work
from skipcore import Trace
from skipcore.model.vlm import ShownTile
from skipcore.plan.tiles import Grid


@dataclass(frozen=True)
class Spread:
    """Variation of a time over `runs` runs, in milliseconds."""

    runs: int
    p50: float
    p90: float
    min: float
    max: float

    @classmethod
    def of(cls, milliseconds: Sequence[float], runs: int | None = None) -> Spread:
        """Compute percentiles with linear interpolation.

        Args:
            runs: that the times are of; default: as many as there are times.
        """
        p50, p90 = np.percentile(milliseconds, [50, 90])
        return cls(
            runs or len(milliseconds), float(p50), float(p90), float(min(milliseconds)), float(max(milliseconds))
        )


@dataclass(frozen=True, eq=False)
class Arm:
    """Figures and answer of one method. Times are medians over the timed runs.

    Attributes:
        name: the method with its budget, unique in the report.
        settings: of the method, as JSON values.
        answer: of the first timed run.
        new_tokens: generated tokens of that run, the end-of-answer token included.
        vision_ms: vision tower and projector; arms whose method needs no encoding of its own share it.
        prefill_ms: from the projected visual tokens to the first token, the method's own work included.
        ttft_ms: time to first token = vision + prefill: the median, as its spread, is over the sums of every time of
            the one with every time of the other.
        tpot_ms: time per output token after the first, (latency − TTFT) / (new tokens − 1), as vLLM defines it; None
            for answers of one token.
        decode_tokens_per_s: 1000 / tpot_ms.
        token_ms: time of every step of the first timed run; the first is the prefill.
        kv_tokens: tokens in the KV cache after prefill, the mean over the layers.
        kv_bytes: bytes that keys and values occupy after prefill, from their storages.
        kv_bytes_predicted: the same in closed form.
        layer_kv_bytes, layer_kv_bytes_predicted: the same by layer.
        flops_prefill: FLOPs of the prefill counted by torch, from the projected visual tokens to the first logits.
        flops_prefill_predicted: the same in closed form.
        peak_memory_bytes: peak of allocated device memory above what lay there before the run; None without a GPU.
        energy_j: of the whole board during the run; None where it cannot be known.
        spread: of "vision_ms", "prefill_ms", "ttft_ms", "tpot_ms".
        trace: what happened to every token, from a run of its own.
        run_token_ms: time of every step of every timed run, a row a run.
        prefill_work, decode_work: FLOPs and bytes of the prefill, and of the mean decode step of the answer.
        gpu_samples: utilization, memory and power over a run of its own; None where there is no GPU to watch.
        vision_is_warm: whether `vision_ms` is of encodings after the first one, which `spread` counts; otherwise it is
            of the first one alone, as more were too dear.
    """

    name: str
    settings: dict[str, Any]
    answer: str
    new_tokens: int
    vision_ms: float
    prefill_ms: float
    ttft_ms: float
    tpot_ms: float | None
    decode_tokens_per_s: float | None
    token_ms: tuple[float, ...]
    kv_tokens: float
    kv_bytes: int
    kv_bytes_predicted: int
    layer_kv_bytes: tuple[int, ...]
    layer_kv_bytes_predicted: tuple[int, ...]
    flops_prefill: int
    flops_prefill_predicted: int
    peak_memory_bytes: int | None
    energy_j: float | None
    spread: dict[str, Spread]
    trace: Trace = field(repr=False)
    run_token_ms: tuple[tuple[float, ...], ...] = ()
    prefill_work: Work | None = None
    decode_work: Work | None = None
    gpu_samples: tuple[GpuSample, ...] | None = None
    vision_is_warm: bool = True

    @property
    def decode_ms(self) -> float:
        """Time of all steps after the first token, at the median pace."""
        return (self.tpot_ms or 0.0) * (self.new_tokens - 1)

    @property
    def decode_steps_ms(self) -> list[tuple[float, ...]]:
        """A row for every decode step that all timed runs took: its time in each of them."""
        return list(zip(*self.run_token_ms, strict=False))[1:]


@dataclass(frozen=True)
class Savings:
    """Savings of an arm against the first arm, as shares (0.75 = three quarters less, negative = more).

    Attributes:
        flops_turned_into_time: share of prefill time saved / share of prefill FLOPs saved; None where no FLOPs were.
    """

    prefill_time: float
    ttft: float
    tpot: float | None
    kv_bytes: float
    flops_prefill: float
    peak_memory: float | None
    energy: float | None
    flops_turned_into_time: float | None


@dataclass(frozen=True)
class AnswerAgreement:
    """Agreement of an arm with the first arm, along the first arm's answer.

    Attributes:
        kl: mean KL(first arm ‖ this arm) of the next-token distributions, in nats.
        top1: share of positions at which both find the same token likeliest.
        positions: next-token distributions compared: as many as the first arm's answer has tokens up to its end, the
            end included, also where runs of a fixed length go on.
        first_difference: number, from 1, of the first token in which the two answers differ up to their ends; None
            where they are the same.
    """

    kl: float
    top1: float
    positions: int
    first_difference: int | None


@dataclass(frozen=True, eq=False)
class Report:
    """One comparison: the same picture, question, features and weights under several methods.

    Attributes:
        device: what the runs ran on: name, kind, dtype, attention, threads.
        versions: of python, torch, transformers.
        model: name of the model.
        question: as asked.
        max_new_tokens, repeats, warmup_runs: of the runs. Warm-up runs record trace, bytes and FLOPs; they are in no
            time.
        tiles: of each picture, where each lies in it and how many rows and columns of visual tokens it has.
        prompt_tokens: tokens of the prompt, visual ones included.
        arms: in the order given; the first is what the others are compared with.
        savings, agreement: for each arm after the first, by name.
        unavailable: for each figure that is None throughout, why.
        reason: what the model's own method does and why it is the default (`Vlm.skipping_reason`), where it is one of
            the arms; otherwise empty.
        notes: what differs from what was asked for, in sentences, such as that a picture was shrunk before.
        decoding: how answers were decoded: what of the model's generation config is followed, and what is left out.
        pictures: every picture as it came (the JSON has their sizes alone, [width, height], as "picture_sizes").
        roof: the most FLOP/s and bytes/s of the device; None where they are not known.
    """

    device: dict[str, Any]
    versions: dict[str, str]
    model: str
    question: str
    max_new_tokens: int
    repeats: int
    warmup_runs: int
    tiles: tuple[tuple[ShownTile, ...], ...]
    prompt_tokens: int
    arms: tuple[Arm, ...]
    savings: dict[str, Savings]
    agreement: dict[str, AnswerAgreement]
    unavailable: dict[str, str]
    pictures: tuple[Image.Image, ...] = field(repr=False, default=())
    roof: Roof | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()
    decoding: str = "greedy"

    @property
    def visual_tokens(self) -> int:
        """Visual tokens of all pictures."""
        return sum(rows * columns for rows, columns in self.image_grid)

    @property
    def image_grid(self) -> tuple[Grid, ...]:
        """Rows and columns of the visual tokens of every tile of every picture."""
        return tuple(tile.grid for own in self.tiles for tile in own)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, the same for page, API and command line: all but the pictures and the traces."""
        return to_json(self, without=("pictures", "trace")) | {
            "picture_sizes": [list(picture.size) for picture in self.pictures],
            "image_grid": [list(grid) for grid in self.image_grid],
        }


def savings_of(arm: Arm, against: Arm) -> Savings:
    """Compute what `arm` saved against another arm of the same report."""

    def saved(figure: str) -> Any:
        value, other = getattr(arm, figure), getattr(against, figure)
        return None if value is None or not other else 1 - value / other

    time, flops = saved("prefill_ms"), saved("flops_prefill")
    return Savings(
        prefill_time=time,
        ttft=saved("ttft_ms"),
        tpot=saved("tpot_ms"),
        kv_bytes=saved("kv_bytes"),
        flops_prefill=flops,
        peak_memory=saved("peak_memory_bytes"),
        energy=saved("energy_j"),
        flops_turned_into_time=time / flops if flops > 0 else None,
    )
