"""The benchmark of long prompts: every method over pictures of ever more visual tokens, on one random model.

It shows whether a method takes longer than its FLOPs say, and whether memory grows with the prompt or its square.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from PIL import Image
from transformers import DynamicCache

from profiling.bench.dispatch import KernelCount, MemoryCount
from profiling.bench.random_models import DecoderSize, on_gpu, random_picture, random_qwen2_5_vl
from profiling.clock import fair_order, timed
from profiling.compare import same_attention
from profiling.machine import device_facts
from profiling.output.table import columns
from profiling.predict.prefill_flops import predict_prefill_flops
from skipcore import METHODS, Dense, Method, Session, SkipVision, Vlm, command_line
from skipcore.flops import FlopCount
from skipcore.methods import Combined, VisionZip
from skipcore.model.hardware import devices_of, versions
from skipcore.model.preset import PRESET

GRIDS: dict[int, tuple[int, int]] = {576: (24, 24), 2_880: (48, 60), 8_192: (64, 128), 15_360: (96, 160)}
"""Visual tokens, and the rows and columns in which they stand."""
SIZE = DecoderSize(hidden_size=512, num_layers=4, num_heads=8, num_key_value_heads=2)
LONG = 5_000
"""From so many visual tokens on, a prefill is timed once: it takes seconds."""
PIXELS_A_TOKEN = 28
QUESTION = "What is in the picture?"


@dataclass(frozen=True)
class LongRun:
    """One method on one prompt.

    Attributes:
        method: its label.
        visual_tokens: of the picture.
        flops, time, kernels, memory, kv: of the prefill, dense = 1: FLOPs as torch counts them, median time, kernels
            dispatched, most bytes alive at once, and bytes of the KV cache after it.
        time_for_flops: time ÷ FLOPs: how much longer the prefill takes than its FLOPs say. torch counts the whole
            square of causal attention.
        time_for_executed: the same for the FLOPs that are computed: causal attention is half of its square.
        largest: elements of the largest tensor ÷ tokens of the prompt: the same at every length where memory is linear.
    """

    method: str
    visual_tokens: int
    flops: float
    time: float
    time_for_flops: float
    time_for_executed: float
    kernels: float
    memory: float
    kv: float
    largest: float


def methods_of(num_layers: int) -> list[Method]:
    """List dense, the preset, Skip-Vision in three ways, every other method with its usual settings, and a combination.
    DyMU has no usual settings: its thresholds are found for a model."""
    own_entries = ("Dense", "DyMU", "SkipVision", "VisionZip", type(PRESET).__name__)
    others = [method() for name, method in METHODS.items() if name not in own_entries]
    skip = [SkipVision(0.2, 0.3), SkipVision(0.2, 0.3, text_attends_skipped=True), SkipVision.untrained(num_layers)]
    return [Dense(), PRESET, *skip, VisionZip(0.4, 0.1), *others, Combined(PRESET, skip[-1])]


def long_model(size: DecoderSize = SIZE) -> Vlm:
    """Build the random model, on the GPU where there is one."""
    return on_gpu(random_qwen2_5_vl(size))


def run_long_bench(vlm: Vlm, tokens: Sequence[int] = tuple(GRIDS), repeats: int = 3) -> Iterator[LongRun]:
    """Measure every method on pictures of so many visual tokens each.

    Args:
        vlm: from `long_model`.
        tokens: some of `GRIDS`.
        repeats: timed runs of each, interleaved; the median counts. Long prompts are timed once.
    """
    for count in tokens:
        rows, across = GRIDS[count]
        picture = random_picture(across * PIXELS_A_TOKEN, rows * PIXELS_A_TOKEN)
        with same_attention(vlm):
            yield from _on_picture(vlm, picture, count, 1 if count >= LONG else repeats)


def _on_picture(vlm: Vlm, picture: Image.Image, count: int, repeats: int) -> Iterator[LongRun]:
    methods = methods_of(vlm.model.get_decoder().config.num_hidden_layers)
    prepared = vlm.prepare(picture, QUESTION)
    shared = prepared.with_features(vlm.encode(prepared))
    inputs = [
        prepared.with_features(vlm.encode(prepared, method)) if method.tower_looks else shared for method in methods
    ]
    counted = [_counts(vlm, method, own) for method, own in zip(methods, inputs, strict=True)]
    times: list[list[float]] = [[] for _ in methods]
    for _, arm in fair_order(len(methods), repeats):
        times[arm].append(_prefill(vlm, methods[arm], inputs[arm])[0])
    for method, own, took in zip(methods, counted, times, strict=True):
        ratios = {name: value / counted[0][name] for name, value in own.items()}
        time = median(took) / median(times[0])
        yield LongRun(
            method=method.label,
            visual_tokens=count,
            flops=round(ratios["flops"], 4),
            time=round(time, 4),
            time_for_flops=round(time / ratios["flops"], 3),
            time_for_executed=round(time / ratios["executed"], 3),
            kernels=round(ratios["kernels"], 3),
            memory=round(ratios["memory"], 3),
            kv=round(ratios["kv"], 4),
            largest=round(own["largest"] / prepared.num_tokens, 1),
        )


def _counts(vlm: Vlm, method: Method, inputs: dict[str, Any]) -> dict[str, int]:
    """Count what does not need a clock; the run warms up, too."""
    with MemoryCount() as memory, KernelCount() as kernels, FlopCount() as flops:
        _, kv, session = _prefill(vlm, method, inputs)
    if session is None:
        with Dense()(vlm.model) as session, torch.inference_mode():
            vlm.model(**inputs, logits_to_keep=1)
    executed = predict_prefill_flops(vlm, method, session.trace).executed
    counted = {"flops": flops.total, "executed": executed, "kernels": kernels.total, "kv": kv}
    return counted | {"memory": memory.peak, "largest": memory.largest}


@torch.inference_mode()
def _prefill(vlm: Vlm, method: Method, inputs: dict[str, Any]) -> tuple[float, int, Session | None]:
    """Run a prefill; returns its seconds, the bytes of the KV cache after it, and the session of a method."""
    cache = DynamicCache(config=vlm.model.config)
    with nullcontext() if method == Dense() else method(vlm.model) as session:
        _, seconds = timed(
            lambda: vlm.model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1), devices_of(vlm.model)
        )
    return seconds, sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers), session


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `bench-long` to a command line."""
    parser = commands.add_parser("bench-long", help="all methods on prompts of up to 15,360 visual tokens")
    parser.add_argument("--tokens", type=int, nargs="+", choices=GRIDS, default=list(GRIDS), help="default: all")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs per method (default 3; 1 for long prompts)")
    parser.add_argument("--output", type=Path, help="also write the record to this JSON file")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    command_line.check_folder(options.output)
    vlm, runs = long_model(), []
    for run in run_long_bench(vlm, options.tokens, options.repeats):
        print(f"{run.visual_tokens:,} tokens, {run.method}: time {run.time:.2f}, FLOPs {run.flops:.2f}", flush=True)
        runs.append(run)
    record = json.dumps(long_record(runs, vlm, options.repeats))
    print(f"\n{long_table(runs)}\n\n{record}")
    if options.output:
        command_line.write_text(options.output, record + "\n")


def long_record(runs: Sequence[LongRun], vlm: Vlm, repeats: int) -> dict[str, Any]:
    """Return the record of one run of the benchmark."""
    return {
        "benchmark": "long prompts",
        "model": vlm.name,
        "repeats": repeats,
        "device": device_facts(vlm),
        "versions": versions(),
        "runs": [asdict(run) for run in runs],
    }


def long_table(runs: Sequence[LongRun]) -> str:
    """Return one row a method: time as a share of dense (÷ the FLOPs that are computed) for each number of tokens."""
    counts = sorted({run.visual_tokens for run in runs})
    found = {(run.method, run.visual_tokens): run for run in runs}
    rows = [["Prefill time, dense = 1 (÷ the FLOPs that are computed)", *(f"{count:,} tokens" for count in counts)]]
    for name in dict.fromkeys(run.method for run in runs):
        cells = [found[name, count] for count in counts]
        rows.append([name, *(f"{run.time:.2f} ({run.time_for_executed:.2f})" for run in cells)])
    return "\n".join(columns(rows))
