"""What holds on the CPU holds on a GPU: no mixed devices, the same tokens chosen, the same answers, measured memory."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import pytest
import torch
from family_methods import COMBINED, METHODS, PEERS, SEEING_PEERS
from model_runs import logits
from shared_models import noise_picture
from tiny_families import BUILDERS, tiny_model

from profiling import compare
from skipcore import Chat, Dense, Method, SkipVision, Vlm, answer

DEVICE = "cuda"
TABLE = METHODS | PEERS | SEEING_PEERS | COMBINED
QUESTION = "What is left of the red circle?"


@cache
def on_gpu(name: str, dtype: torch.dtype = torch.float32) -> Vlm:
    vlm = tiny_model(name)
    return Vlm(deepcopy(vlm.model).to(DEVICE, dtype), vlm.processor, vlm.family, name)


def fresh_logits(vlm: Vlm, method: Method) -> torch.Tensor:
    prepared = vlm.prepare(noise_picture(3), QUESTION, method=method)
    with method(vlm.model):
        return logits(vlm, prepared.inputs)


@pytest.mark.parametrize("method", TABLE)
@pytest.mark.parametrize("family", BUILDERS)
def test_a_method_computes_what_it_computes_on_the_cpu(family: str, method: str) -> None:
    expected = fresh_logits(tiny_model(family), TABLE[method])
    made = fresh_logits(on_gpu(family), deepcopy(TABLE[method]))
    torch.testing.assert_close(made.cpu(), expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("family", BUILDERS)
def test_a_dense_session_is_the_model_bit_for_bit(family: str) -> None:
    vlm = on_gpu(family)
    inputs = vlm.prepare(noise_picture(3), QUESTION).inputs
    stock = logits(vlm, inputs)
    with Dense()(vlm.model):
        assert torch.equal(logits(vlm, inputs), stock)


@pytest.mark.parametrize("family", BUILDERS)
def test_merging_in_bfloat16_is_deterministic(family: str) -> None:
    vlm = on_gpu(family, torch.bfloat16)
    first, second = (fresh_logits(vlm, SkipVision(0.2, 0.3)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("method", ["masked", "PyramidDrop", "SPIDER"])
@pytest.mark.parametrize("family", BUILDERS)
def test_answers_are_those_of_the_cpu(family: str, method: str) -> None:
    made, expected = (
        [token.id for token in answer(vlm, noise_picture(3), QUESTION, TABLE[method], max_new_tokens=8)]
        for vlm in (on_gpu(family), tiny_model(family))
    )
    assert made == expected


def test_a_follow_up_reads_only_what_is_new() -> None:
    chat = Chat(on_gpu("LLaVA"), noise_picture(3), SkipVision(0.2, 0.3))
    for question in ("What is it?", "And now?"):
        assert list(chat.ask(question, 4))
    assert chat.reused > 0


def test_a_comparison_measures_memory_and_says_why_there_is_no_energy() -> None:
    report = compare(on_gpu("LLaVA"), noise_picture(3), QUESTION, max_new_tokens=4, repeats=2)
    assert report.device["kind"] == torch.device(DEVICE).type
    for arm in report.arms:
        assert arm.kv_bytes == arm.kv_bytes_predicted
        assert arm.flops_prefill == arm.flops_prefill_predicted
        assert arm.peak_memory_bytes is not None and arm.peak_memory_bytes > 0
        assert arm.energy_j is not None or "energy_j" in report.unavailable
        assert arm.gpu_samples is not None or "gpu_samples" in report.unavailable
