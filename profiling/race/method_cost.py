"""What methods cost: `profiling.compare` on a prompt, and the part of it that goes into choosing tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from copy import copy
from dataclasses import asdict
from statistics import median
from typing import Any

import torch
from transformers import DynamicCache

from profiling.clock import timed
from profiling.compare import compare
from profiling.predict.prefill_flops import predict_prefill_flops
from skipcore import Method, Vlm
from skipcore.answering.generate import generate
from skipcore.model.hardware import devices_of
from skipcore.model.inputs import ImageLike

NEW_TOKENS = 16
"""So many tokens are decoded in every arm, whatever the model says, so that decode times compare."""


@torch.inference_mode()
def prefill_flops(vlm: Vlm, method: Method, image: ImageLike, question: str) -> int:
    """FLOPs of one prompt's prefill in closed form; locks the model."""
    inputs = encoded_inputs(vlm, method, image, question)
    with vlm.lock, method(vlm.model) as session:
        cache = DynamicCache(config=vlm.model.config)
        vlm.model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return predict_prefill_flops(vlm, method, session.trace).total


def encoded_inputs(vlm: Vlm, method: Method, image: ImageLike, question: str) -> dict[str, Any]:
    """One prompt as the model takes it, the picture encoded as the method wants it."""
    prepared = vlm.prepare(image, question, NEW_TOKENS, method=method)
    return prepared.with_features(vlm.encode(prepared, method))


def measure_cost(
    vlm: Vlm, image: ImageLike, question: str, methods: Mapping[str, Method], repeats: int
) -> dict[str, Any]:
    """One question under all methods, their timed runs interleaved.

    Args:
        methods: by any key; the first is `Dense()`.
        repeats: timed runs of each.

    Returns:
        {"question", "device", "repeats", "prompt_tokens", "visual_tokens", "unavailable", "methods": {key: {"flops",
        "flops_counted", "flops_ratio", "scoring_flops_ratio", "vision_ms", "prefill_ms", "tpot_ms", "spread",
        "scoring_ms", "kv_bytes", "peak_memory_bytes"}}}. Ratios are of the dense prefill's FLOPs. Figures in closed
        form hold products of a matrix and a vector, too, which torch does not count. Scoring is what the method itself
        does to choose tokens in prefill: its FLOPs are all products that the dense model does without, its time is
        that spent in `plan` and `decide`; what it does in the vision tower is in the vision time.
    """
    report = compare(vlm, image, question, list(methods.values()), NEW_TOKENS, repeats, fixed_length=True)
    dense = report.arms[0]
    costs = {}
    for arm, (key, method) in zip(report.arms, methods.items(), strict=True):
        parts = predict_prefill_flops(vlm, method, arm.trace)
        costs[key] = {
            "flops": parts.total,
            "flops_counted": arm.flops_prefill,
            "flops_ratio": parts.total / dense.flops_prefill,
            "scoring_flops_ratio": parts.selection / dense.flops_prefill,
            "vision_ms": arm.vision_ms,
            "prefill_ms": arm.prefill_ms,
            "tpot_ms": arm.tpot_ms,
            "spread": {name: asdict(spread) for name, spread in arm.spread.items()},
            "scoring_ms": scoring_ms(vlm, method, image, question, repeats),
            "kv_bytes": arm.kv_bytes,
            "peak_memory_bytes": arm.peak_memory_bytes,
        }
    return {
        "question": question,
        "device": report.device,
        "repeats": repeats,
        "prompt_tokens": report.prompt_tokens,
        "visual_tokens": report.visual_tokens,
        "unavailable": report.unavailable,
        "methods": costs,
    }


def scoring_ms(vlm: Vlm, method: Method, image: ImageLike, question: str, repeats: int) -> float:
    """Median time that one prefill spends in the method's `plan` and `decide`, from runs of their own after a warm-up;
    locks the model."""
    clock = Stopwatch(devices_of(vlm.model))
    watched = clock.watching(method)
    inputs = encoded_inputs(vlm, method, image, question)
    times = []
    with vlm.lock:
        for _ in range(repeats + 1):
            clock.milliseconds = 0.0
            with closing(generate(vlm, inputs, watched(vlm.model), max_new_tokens=1)) as tokens:
                next(tokens)
            times.append(clock.milliseconds)
    return median(times[1:])


class Stopwatch:
    """Adds up the time that a method spends deciding."""

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self._devices = devices
        self.milliseconds = 0.0

    def watching(self, method: Method) -> Method:
        """A copy of the method whose decisions are timed."""
        watched = copy(method)
        for name in ("plan", "decide"):
            object.__setattr__(watched, name, self._watched(getattr(method, name)))
        return watched

    def _watched(self, decision: Callable) -> Callable:
        def watched(*args: Any) -> Any:
            made, seconds = timed(lambda: decision(*args), self._devices)
            self.milliseconds += 1000 * seconds
            return made

        return watched
