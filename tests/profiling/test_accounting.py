"""The comparison on every family: what was predicted is what was counted, whatever the method (law 5)."""

from __future__ import annotations

import json

import pytest
from family_methods import COMBINED, METHODS, PEERS, SEEING_PEERS
from shared_models import noise_picture
from tiny_families import BUILDERS, tiny_model

from profiling import compare
from skipcore import Dense

ARMS = [Dense(), *{**METHODS, **PEERS, **SEEING_PEERS, **COMBINED}.values()]


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
