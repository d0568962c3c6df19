"""The comparison on every family: what was predicted is what was counted, whatever the method (law 5)."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from family_methods import COMBINED, METHODS, PEERS, SEEING_PEERS
from shared_models import noise_picture, trained_summary
from tiny_families import BUILDERS, WIDTH, tiny_model

from profiling import compare
from profiling.predict.work import decode_work
from skipcore import Dense, Method, SkipVision
from skipcore.answering.generate import generate
from skipcore.flops import FlopCount

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
            assert any(f"of its {arm.kv_bytes:,} B stay" in note for note in report.notes)
        else:
            assert arm.kv_bytes == arm.kv_bytes_predicted, arm.name
    json.dumps(report.to_dict())


@pytest.mark.parametrize("method", [Dense(), SkipVision(4, 4)], ids=lambda method: method.label)
@pytest.mark.parametrize("name", BUILDERS)
def test_a_decode_step_is_what_torch_counts(name: str, method: Method) -> None:
    """Windows, experts and all."""
    vlm, new_tokens = tiny_model(name), 12
    prepared = vlm.prepare(noise_picture(0), "What is it?")
    inputs = prepared.with_features(vlm.encode(prepared))
    session = method(vlm.model, record=True)
    tokens = generate(vlm, inputs, session, new_tokens, ignore_eos=True)
    next(tokens)
    with torch.inference_mode(), FlopCount() as count:
        assert len(list(tokens)) == new_tokens - 1
    assert decode_work(vlm, session.trace, new_tokens).flops == pytest.approx(count.total / (new_tokens - 1), rel=1e-9)
