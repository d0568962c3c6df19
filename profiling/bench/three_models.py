"""The benchmark: dense against Skip-Vision on random models of three families, where every machine can run it.

Random weights are enough for times, bytes and FLOPs, which depend on shapes only. The decoders have the proportions of
LLaMA-3 8B, the paper's decoder, at d = 384 with 8 layers; 576 visual tokens become 100 retained + 156 skipped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiling.bench.random_models import (
    DEFAULT_SIZE,
    DecoderSize,
    on_gpu,
    random_llava,
    random_picture,
    random_qwen2_5_vl,
    random_smolvlm,
)
from profiling.bench.session_cost import SessionCost, measure_session_cost
from profiling.compare import compare
from profiling.output.table import columns, table_of
from profiling.report import Arm, Report
from skipcore import AdaptiveSummary, Dense, SkipVision, Vlm, command_line
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
        """Return one flat record: ratios skip / dense of one run, and those of the preset."""
        dense, skip, _, preset = self.report.arms

        def ratio(arm: Arm, figure: str, digits: int = 4) -> float:
            return round(getattr(arm, figure) / getattr(dense, figure), digits)

        session, recording = self.session_cost.session, self.session_cost.recording
        return {
            "model": self.report.model,
            "method": skip.name,
            "visual_tokens": self.report.visual_tokens,
            "prefill_time_ratio": ratio(skip, "prefill_ms"),
            "flops_ratio": ratio(skip, "flops_prefill"),
            "tpot_ratio": ratio(skip, "tpot_ms"),
            "kv_bytes_ratio": ratio(skip, "kv_bytes", 6),
            "kv_bytes_ratio_predicted": ratio(skip, "kv_bytes_predicted", 6),
            "preset": preset.name,
            "preset_prefill_time_ratio": ratio(preset, "prefill_ms"),
            "preset_flops_ratio": ratio(preset, "flops_prefill"),
            "preset_kv_bytes_ratio": ratio(preset, "kv_bytes", 6),
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
        vlm, picture = on_gpu(build(size)), random_picture(width, height)
        summary = AdaptiveSummary(size.hidden_size).to(vlm.device).requires_grad_(False)
        methods = [Dense(), SkipVision(summary=summary), SkipVision.paper("llava"), PRESET]
        report = compare(vlm, picture, QUESTION, methods, max_new_tokens, repeats, fixed_length=True)
        prepared = vlm.prepare(picture, QUESTION)
        inputs = prepared.with_features(vlm.encode(prepared))
        yield BenchResult(report, measure_session_cost(vlm, inputs, session_seconds))


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `bench` to a command line."""
    parser = commands.add_parser("bench", help="dense against Skip-Vision on random models of three families")
    parser.add_argument("--repeats", type=int, default=10, help="timed runs per arm (default 10)")
    parser.add_argument("--output", type=Path, help="also write the result to this JSON file")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    command_line.check_folder(options.output)
    results = []
    for result in run_bench(options.repeats):
        print(table_of(result.report), end="\n\n", flush=True)
        results.append(result)
    record = record_of(results)
    print(ratios_of(results), json.dumps(record), sep="\n\n")
    if options.output:
        for model, result in zip(record["models"], results, strict=True):
            model["report"] = result.report.to_dict()
        command_line.write_text(options.output, json.dumps(record, indent=2) + "\n")


def record_of(results: list[BenchResult]) -> dict[str, Any]:
    """Return the record of one run of the benchmark."""
    report = results[0].report
    return {
        "benchmark": "prefill",
        "repeats": report.repeats,
        "device": report.device,
        "versions": report.versions,
        "models": [result.record() for result in results],
    }


def ratios_of(results: list[BenchResult]) -> str:
    """Return the ratios as plain text, one column a model."""
    records = [result.record() for result in results]
    rows = [["Skip-Vision / dense", *(record["model"] for record in records)]]
    rows += [[title, *(form.format(**record) for record in records)] for title, form in _RATIOS.items()]
    return "\n".join(columns(rows))


_RATIOS = {
    "Prefill time": "{prefill_time_ratio:.3f}",
    "Prefill FLOPs": "{flops_ratio:.3f}",
    "Decode time per token": "{tpot_ratio:.3f}",
    "KV cache bytes": "{kv_bytes_ratio:.4f}",
    "Prefill time, preset": "{preset_prefill_time_ratio:.3f}",
    "Prefill FLOPs, preset": "{preset_flops_ratio:.3f}",
    "KV cache bytes, preset": "{preset_kv_bytes_ratio:.4f}",
    "Dense session / no session": "{session_time_ratio:.4f} (95%: {session_time_ratio_interval[0]:.4f} to "
    "{session_time_ratio_interval[1]:.4f})",
    "Recording / not recording": "{recording_time_ratio:.4f} (95%: {recording_time_ratio_interval[0]:.4f} to "
    "{recording_time_ratio_interval[1]:.4f})",
    "Rounds of both": "{session_rounds}, {recording_rounds}",
}
