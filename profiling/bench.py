"""The benchmark: dense against Skip-Vision on a random LLaVA, where every machine can run it.

Random weights are enough for times, bytes and FLOPs, which depend on shapes only. The model has the proportions of
LLaMA-3 8B, the paper's decoder, at d = 384 with 8 layers; 576 visual tokens become 100 retained + 156 skipped.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from profiling.compare import compare
from profiling.report import Report
from skipcore import AdaptiveSummary, Dense, SkipVision
from skipcore.random_llava import random_llava


def run_bench(repeats: int = 10, max_new_tokens: int = 32, hidden_size: int = 384, num_layers: int = 8) -> Report:
    """Compare dense, Skip-Vision and the authors' setting of it on one random LLaVA in one run."""
    vlm = random_llava(hidden_size=hidden_size, num_layers=num_layers)
    if torch.cuda.is_available():
        vlm.model.to("cuda", torch.bfloat16)
    pixels = np.random.RandomState(0).randint(0, 256, (336, 336, 3), dtype=np.uint8)
    summary = AdaptiveSummary(hidden_size).to(vlm.device).requires_grad_(False)
    methods = [
        Dense(),
        SkipVision(summary=summary),
        SkipVision.paper("llava"),
    ]
    return compare(
        vlm, Image.fromarray(pixels), "What is in the picture?", methods, max_new_tokens, repeats, fixed_length=True
    )


def bench_line(report: Report) -> dict[str, Any]:
    """The benchmark's result in one flat record: ratios skip / dense of one run, with device and versions."""
    dense, skip, *_ = report.arms
    assert dense.tpot_ms is not None and skip.tpot_ms is not None  # the bench decodes more than one token
    return {
        "benchmark": "prefill",
        "model": report.model,
        "method": skip.name,
        "prefill_time_ratio": round(skip.prefill_ms / dense.prefill_ms, 4),
        "flops_ratio": round(skip.flops_prefill / dense.flops_prefill, 4),
        "tpot_ratio": round(skip.tpot_ms / dense.tpot_ms, 4),
        "kv_bytes_ratio": round(skip.kv_bytes / dense.kv_bytes, 6),
        "kv_bytes_ratio_predicted": round(skip.kv_bytes_predicted / dense.kv_bytes_predicted, 6),
        "dense_prefill_ms": round(dense.prefill_ms, 3),
        "skip_prefill_ms": round(skip.prefill_ms, 3),
        "repeats": report.repeats,
        "device": report.device,
        "versions": report.versions,
    }
