"""The benchmark: dense against Skip-Vision on a random LLaVA, where every machine can run it.

Random weights are enough for times, bytes and FLOPs, which depend on shapes only. The model has the proportions of
LLaMA-3 8B, the paper's decoder, at d = 384 with 8 layers; 576 visual tokens become 100 retained + 156 skipped.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image

from profiling.compare import compare
from profiling.phases import fair_order
from profiling.report import Report
from skipcore import AdaptiveSummary, Dense, SkipVision, Vlm
from skipcore.answer import generate
from skipcore.random_llava import random_llava

QUESTION = "What is in the picture?"


@dataclass(frozen=True)
class SessionCost:
    """What a session itself costs, as ratios of median prefill times of one run.

    Attributes:
        session: a `Dense()` session / no session at all.
        recording: a `Dense()` session that records / one that does not.
    """

    session: float
    recording: float


@dataclass(frozen=True)
class BenchResult:
    """What the benchmark measured."""

    report: Report
    session_cost: SessionCost

    def line(self) -> dict[str, Any]:
        """One flat record: ratios skip / dense of one run, with device and versions."""
        dense, skip, *_ = self.report.arms
        assert dense.tpot_ms is not None and skip.tpot_ms is not None  # the bench decodes more than one token
        return {
            "benchmark": "prefill",
            "model": self.report.model,
            "method": skip.name,
            "prefill_time_ratio": round(skip.prefill_ms / dense.prefill_ms, 4),
            "flops_ratio": round(skip.flops_prefill / dense.flops_prefill, 4),
            "tpot_ratio": round(skip.tpot_ms / dense.tpot_ms, 4),
            "kv_bytes_ratio": round(skip.kv_bytes / dense.kv_bytes, 6),
            "kv_bytes_ratio_predicted": round(skip.kv_bytes_predicted / dense.kv_bytes_predicted, 6),
            "session_time_ratio": round(self.session_cost.session, 4),
            "recording_time_ratio": round(self.session_cost.recording, 4),
            "dense_prefill_ms": round(dense.prefill_ms, 3),
            "skip_prefill_ms": round(skip.prefill_ms, 3),
            "repeats": self.report.repeats,
            "device": self.report.device,
            "versions": self.report.versions,
        }


def run_bench(repeats: int = 10, max_new_tokens: int = 32, hidden_size: int = 384, num_layers: int = 8) -> BenchResult:
    """Compare dense, Skip-Vision and the authors' setting of it on one random LLaVA in one run."""
    vlm = random_llava(hidden_size=hidden_size, num_layers=num_layers)
    if torch.cuda.is_available():
        vlm.model.to("cuda", torch.bfloat16)
    pixels = np.random.RandomState(0).randint(0, 256, (336, 336, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    summary = AdaptiveSummary(hidden_size).to(vlm.device).requires_grad_(False)
    methods = [Dense(), SkipVision(summary=summary), SkipVision.paper("llava")]
    report = compare(vlm, picture, QUESTION, methods, max_new_tokens, repeats, fixed_length=True)
    return BenchResult(report, _session_cost(vlm, picture, repeats))


def _session_cost(vlm: Vlm, picture: Image.Image, repeats: int) -> SessionCost:
    """Prefill without a session, in one, and in one that records; interleaved."""
    prepared = vlm.prepare(picture, QUESTION)
    inputs = prepared.with_features(vlm.encode(prepared))

    def session(arm: int) -> AbstractContextManager:
        return nullcontext() if arm == 0 else Dense()(vlm.model, record=arm == 2)

    times: list[list[float]] = [[], [], []]
    for _, arm in fair_order(3, repeats + 1):
        (token,) = generate(vlm, inputs, session(arm), max_new_tokens=1)
        times[arm].append(token.seconds)
    plain, inside, recording = (median(seconds[1:]) for seconds in times)  # the first round warms up
    return SessionCost(session=inside / plain, recording=recording / inside)
