"""The benchmark: dense against Skip-Vision on random models of three families, where every machine can run it.

Random weights are enough for times, bytes and FLOPs, which depend on shapes only. The decoders have the proportions of
LLaMA-3 8B, the paper's decoder, at d = 384 with 8 layers; 576 visual tokens become 100 retained + 156 skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from profiling.bench.random_models import DEFAULT_SIZE, DecoderSize, random_llava, random_qwen2_5_vl, random_smolvlm
from profiling.bench.session_cost import SessionCost, measure_session_cost
from profiling.compare import compare
from profiling.output.table import columns
from profiling.report import Report
from skipcore import AdaptiveSummary, Dense, SkipVision, Vlm
from skipcore.model.preset import PRESET

QUESTION = "What is in the picture?"
MODELS: tuple[tuple[Callable[[DecoderSize], Vlm], tuple[int, int]], ...] = (
    (random_llava, (336, 336)),
    (random_qwen2_5_vl, (672, 672)),
    (random_smolvlm, (2048, 1024)),
)
"""What builds each model, and width and height in pixels of the picture that makes 576 visual tokens there."""


@dataclass(frozen=True)
class BenchResult:
    """What the benchmark measured on one model."""

    report: Report
    session_cost: SessionCost

    def record(self) -> dict[str, Any]:
        """One flat record: ratios skip / dense of one run, and those of the preset."""
        dense, skip, _, preset = self.report.arms
        assert dense.tpot_ms is not None and skip.tpot_ms is not None  # the bench decodes more than one token
        session, recording = self.session_cost.session, self.session_cost.recording
        return {
            "model": self.report.model,
            "method": skip.name,
            "visual_tokens": self.report.visual_tokens,
            "prefill_time_ratio": round(skip.prefill_ms / dense.prefill_ms, 4),
            "flops_ratio": round(skip.flops_prefill / dense.flops_prefill, 4),
            "tpot_ratio": round(skip.tpot_ms / dense.tpot_ms, 4),
            "kv_bytes_ratio": round(skip.kv_bytes / dense.kv_bytes, 6),
            "kv_bytes_ratio_predicted": round(skip.kv_bytes_predicted / dense.kv_bytes_predicted, 6),
            "preset": preset.name,
            "preset_prefill_time_ratio": round(preset.prefill_ms / dense.prefill_ms, 4),
            "preset_flops_ratio": round(preset.flops_prefill / dense.flops_prefill, 4),
            "preset_kv_bytes_ratio": round(preset.kv_bytes / dense.kv_bytes, 6),
            "session_time_ratio": round(session.median, 4),
            "session_time_ratio_interval": [round(session.low, 4), round(session.high, 4)],
            "session_time_ratio_p10_p90": [round(session.p10, 4), round(session.p90, 4)],
            "recording_time_ratio": round(recording.median, 4),
            "recording_time_ratio_interval": [round(recording.low, 4), round(recording.high, 4)],
            "session_rounds": session.rounds,
            "recording_rounds": recording.rounds,
            "dense_prefill_ms": round(dense.prefill_ms, 3),
            "skip_prefill_ms": round(skip.prefill_ms, 3),
        }


def run_bench(
    repeats: int = 10, max_new_tokens: int = 32, size: DecoderSize = DEFAULT_SIZE, session_seconds: float = 40
) -> Iterator[BenchResult]:
    """Compare dense, Skip-Vision, the authors' setting of it and the preset of untrained models on each model in turn.

    Args:
        repeats: timed runs per arm.
        max_new_tokens: length of every answer.
        size: of the decoders.
        session_seconds: for measuring what a session costs, on each model.
    """
    for build, (width, height) in MODELS:
        vlm = build(size)
        if torch.cuda.is_available():
            vlm.model.to("cuda", torch.bfloat16)
        picture = Image.fromarray(np.random.RandomState(0).randint(0, 256, (height, width, 3), dtype=np.uint8))
        summary = AdaptiveSummary(size.hidden_size).to(vlm.device).requires_grad_(False)
        methods = [Dense(), SkipVision(summary=summary), SkipVision.paper("llava"), PRESET]
        report = compare(vlm, picture, QUESTION, methods, max_new_tokens, repeats, fixed_length=True)
        prepared = vlm.prepare(picture, QUESTION)
        inputs = prepared.with_features(vlm.encode(prepared))
        yield BenchResult(report, measure_session_cost(vlm, inputs, session_seconds))


def record_of(results: list[BenchResult]) -> dict[str, Any]:
    """The record of one run of the benchmark."""
    report = results[0].report
    return {
        "benchmark": "prefill",
        "repeats": report.repeats,
        "device": report.device,
        "versions": report.versions,
        "models": [result.record() for result in results],
    }


def ratios_of(results: list[BenchResult]) -> str:
    """The ratios as plain text, one column a model."""
    records = [result.record() for result in results]
    rows = [["Skip-Vision / dense", *(record["model"] for record in records)]]
    rows += [[title, *(show(record) for record in records)] for title, show in _RATIOS]
    return "\n".join(columns(rows))


def _with_interval(name: str) -> Callable[[dict[str, Any]], str]:
    def show(record: dict[str, Any]) -> str:
        low, high = record[f"{name}_interval"]
        return f"{record[name]:.4f} (95%: {low:.4f} to {high:.4f})"

    return show


_RATIOS: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
    ("Prefill time", lambda record: f"{record['prefill_time_ratio']:.3f}"),
    ("Prefill FLOPs", lambda record: f"{record['flops_ratio']:.3f}"),
    ("Decode time per token", lambda record: f"{record['tpot_ratio']:.3f}"),
    ("KV cache bytes", lambda record: f"{record['kv_bytes_ratio']:.4f}"),
    ("Prefill time, preset", lambda record: f"{record['preset_prefill_time_ratio']:.3f}"),
    ("Prefill FLOPs, preset", lambda record: f"{record['preset_flops_ratio']:.3f}"),
    ("KV cache bytes, preset", lambda record: f"{record['preset_kv_bytes_ratio']:.4f}"),
    ("Dense session / no session", _with_interval("session_time_ratio")),
    ("Recording / not recording", _with_interval("recording_time_ratio")),
    ("Rounds of both", lambda record: f"{record['session_rounds']}, {record['recording_rounds']}"),
]
