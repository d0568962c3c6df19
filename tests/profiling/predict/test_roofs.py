"""Roofs by name, by measurement, or a reason; and the work of a phase against what torch counts."""

from __future__ import annotations

import pytest
import torch

from profiling import compare
from profiling.bench.random_models import DecoderSize, random_llava
from profiling.predict.roofs import Roof, listed_roof, roof_of
from profiling.predict.work import Work
from skipcore import Dense, SkipVision
from skipcore.answering.generate import generate
from skipcore.flops import FlopCount
from skipcore.model.hardware import OUTSIDE, devices_name


@pytest.mark.parametrize(
    "name, dtype, peak",
    [
        ("NVIDIA H100 80GB HBM3", torch.bfloat16, 989e12),
        ("NVIDIA H100 PCIe", torch.float32, 51e12),
        ("NVIDIA L4", torch.float16, 121e12),
        ("NVIDIA L40S", torch.float16, 362e12),
        ("NVIDIA H200", torch.bfloat16, 989e12),
    ],
)
def test_a_listed_gpu(name: str, dtype: torch.dtype, peak: float) -> None:
    roof, reason = listed_roof(name, dtype)
    assert roof is not None and roof.flops_per_s == peak and "data sheet" in roof.source and reason is None


@pytest.mark.parametrize(
    "name, dtype, says",
    [
        ("NVIDIA H200 MIG 3g.71gb", torch.bfloat16, "part of a board"),
        ("NVIDIA L400", torch.float16, "no data sheet figure for NVIDIA L400 in float16"),
        ("NVIDIA H200", torch.float64, "in float64"),
    ],
)
def test_another_gpu_has_a_reason_and_no_roof(name: str, dtype: torch.dtype, says: str) -> None:
    roof, reason = listed_roof(name, dtype)
    assert roof is None and says in str(reason)


def test_a_cpu_is_measured_once() -> None:
    roof, _ = roof_of([torch.device("cpu")], torch.float32)
    assert roof is not None and "measured" in roof.source
    assert 1e9 < roof.flops_per_s < 1e14 and 1e8 < roof.bytes_per_s < 1e13
    assert roof_of([torch.device("cpu")], torch.float32)[0] is roof


def test_the_roof_is_the_lower_of_two() -> None:
    roof = Roof(100.0, 10.0, "made up")
    assert roof.ridge == 10 and [roof.at(x) for x in (1, 10, 50)] == [10, 100, 100]
    assert Work(12.0, 1.0, 2.0, 3.0).intensity == 2


def test_work_of_a_decode_step_is_what_torch_counts(picture) -> None:
    # a model of its own: torch's count fails on one whose inputs were once made to need gradients
    tiny = random_llava(DecoderSize(48, 3, 4, 2), image_size=64, patch_size=8, vision_width=32)
    methods = [Dense(), SkipVision(16, 16)]
    report = compare(tiny, picture, "What?", methods, max_new_tokens=3, fixed_length=True)
    inputs = tiny.prepare(picture, "What?")
    inputs = inputs.with_features(tiny.encode(inputs))
    tokens = generate(tiny, inputs, Dense()(tiny.model), 3, ignore_eos=True)
    next(tokens)
    with torch.inference_mode(), FlopCount() as count:
        next(tokens), next(tokens)
    tokens.close()
    dense, skip = report.arms
    step = dense.decode_work
    assert step is not None and step.flops == count.total / 2
    assert dense.prefill_work is not None and dense.prefill_work.flops == dense.flops_prefill
    assert skip.prefill_work.kv_bytes < dense.prefill_work.kv_bytes
    assert skip.decode_work.kv_bytes < step.kv_bytes and skip.decode_work.weight_bytes == step.weight_bytes
    # what prefill left, and the first token, then the second one too: one and a half in the mean
    assert step.kv_bytes == pytest.approx(dense.kv_bytes * (1 + 1.5 / dense.kv_tokens))
    assert step.weight_bytes == dense.prefill_work.weight_bytes
    content = report.to_dict()
    assert content["arms"][0]["decode_work"]["flops"] == step.flops and content["roof"]["source"] == report.roof.source
    assert content["arms"][0]["run_token_ms"] == [list(dense.token_ms)]


def test_roofs_and_names_of_several_devices(monkeypatch) -> None:
    names = {0: "NVIDIA H200", 1: "NVIDIA H200", 2: "NVIDIA L4"}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: names[device.index])
    gpus = [torch.device("cuda", number) for number in names]
    assert roof_of(gpus[:2], torch.bfloat16) == listed_roof("NVIDIA H200", torch.bfloat16)
    assert devices_name(gpus) == "2 × NVIDIA H200 and NVIDIA L4" and devices_name(gpus[:1]) == "NVIDIA H200"
    for devices, says in (
        (gpus, "different devices (NVIDIA H200, NVIDIA L4)"),
        ([gpus[0], torch.device("cpu")], "different devices"),
        ([gpus[0], OUTSIDE], "fetched during the runs"),
    ):
        roof, reason = roof_of(devices, torch.bfloat16)
        assert roof is None and says in str(reason)
    assert devices_name([gpus[0], OUTSIDE]) == "NVIDIA H200 and weights kept elsewhere"
