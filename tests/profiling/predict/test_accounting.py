"""The comparison on every family: what was predicted is what was counted, whatever the method (law 5)."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from family_methods import COMBINED, METHODS, PEERS, SEEING_PEERS
from shared_models import noise_picture, trained_summary
from tiny_families import BUILDERS, WIDTH, tiny_model

from profiling import compare
from skipcore import Dense, SkipVision

ARMS = [
    Dense(),
    *{**METHODS, **PEERS, **SEEING_PEERS, **COMBINED}.values(),
    replace(PEERS["PyramidDrop"], positions="renumbered"),
    SkipVision(0.2, 0.3, summary_start=1, last_skipped_runs_ffn=True, summary=trained_summary(WIDTH)),
]


@pytest.mark.parametrize("name", BUILDERS)
def test_a_comparison_accounts_for_everything(name: str) -> None:
    report = compare(tiny_model(name), noise_picture(0), "What is it?", ARMS, 1)
    for arm in report.arms:
        assert arm.flops_prefill == arm.flops_prefill_predicted, arm.name
        if name == "Gemma 3" and arm.name == "Dense":  # until the next token the stock cache holds views of more
            assert arm.kv_bytes > arm.kv_bytes_predicted
        else:
            assert arm.kv_bytes == arm.kv_bytes_predicted, arm.name
    json.dumps(report.to_dict())
