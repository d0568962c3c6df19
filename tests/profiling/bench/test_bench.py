"""The benchmark on small decoders: what it records, not how fast it was."""

from __future__ import annotations

import json

import numpy as np
import pytest

from profiling import __main__ as command_line
from profiling.bench import three_models
from profiling.bench.random_models import DecoderSize
from profiling.bench.session_cost import PairedRatio, time_in_pairs
from profiling.bench.three_models import MODELS, BenchResult, record_of, run_bench

SMALL = DecoderSize(hidden_size=96, num_layers=2)


@pytest.fixture(scope="module")
def results() -> list[BenchResult]:
    return list(run_bench(repeats=1, max_new_tokens=2, size=SMALL, session_seconds=0))


def test_every_model_sees_576_tokens(results: list[BenchResult]) -> None:
    models = record_of(results)["models"]
    assert [model["model"].split(" (")[0] for model in models] == [
        "random LLaVA",
        "random Qwen2.5-VL",
        "random SmolVLM",
    ]
    assert {model["visual_tokens"] for model in models} == {576}
    assert {model["method"] for model in models} == {"Skip-Vision 100+156"}


@pytest.mark.parametrize("build", [build for build, _ in MODELS])
def test_every_decoder_has_the_size_asked_for(build) -> None:
    config = build(SMALL).model.get_decoder().config
    own = config.hidden_size, config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads
    assert (*own, config.intermediate_size) == (96, 2, 6, 2, 336)


def test_ratios_are_those_of_the_report(results: list[BenchResult]) -> None:
    for model, result in zip(record_of(results)["models"], results, strict=True):
        dense, skip, paper, preset = result.report.arms
        assert model["prefill_time_ratio"] == pytest.approx(skip.prefill_ms / dense.prefill_ms, abs=1e-4)
        assert model["flops_ratio"] == pytest.approx(skip.flops_prefill / dense.flops_prefill, abs=1e-4)
        assert (
            model["kv_bytes_ratio"]
            == model["kv_bytes_ratio_predicted"]
            == pytest.approx((result.report.prompt_tokens - 576 + 100 + 2) / result.report.prompt_tokens, abs=1e-6)
        )
        assert model["preset_flops_ratio"] < 0.6 > model["preset_kv_bytes_ratio"]
        for arm in (dense, skip, paper, preset):
            assert arm.flops_prefill == arm.flops_prefill_predicted
            assert arm.layer_kv_bytes == arm.layer_kv_bytes_predicted


def test_the_last_line_is_the_record(results: list[BenchResult], monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr(three_models, "run_bench", lambda repeats: iter(results))
    assert command_line.main(["bench", "--output", str(tmp_path / "bench.json")]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    assert json.loads(last) == json.loads(json.dumps(record_of(results)))
    assert sum("Dense session / no session" in line for line in table) == 1
    assert sum(line.startswith("Prefill FLOPs, counted") for line in table) == 3
    written = json.loads((tmp_path / "bench.json").read_text())
    reports = [model.pop("report") for model in written["models"]]
    assert written == json.loads(last)
    assert reports == json.loads(json.dumps([result.report.to_dict() for result in results]))


def test_a_paired_ratio_finds_one_per_cent_in_noise() -> None:
    """Slow drift, and a third of the runs disturbed, as on a shared machine: the pairs cancel both."""
    random = np.random.default_rng(3)
    machine = 100 + 30 * np.sin(np.arange(200) / 20)
    plain, inside = (
        machine * cost * random.normal(1, 0.01, 200) * np.where(random.random(200) < 0.15, 4, 1) for cost in (1, 1.01)
    )
    ratio = PairedRatio.of(inside.tolist(), plain.tolist())
    assert ratio.low < 1.01 < ratio.high and ratio.high - ratio.low < 0.01
    assert ratio.p10 < ratio.low < ratio.median < ratio.high < ratio.p90 and ratio.rounds == 200
    assert PairedRatio.of([3.0, 3.0], [2.0, 2.0]) == PairedRatio(1.5, 1.5, 1.5, 1.5, 1.5, 2)


def test_pairs_follow_themselves_as_often_as_each_other() -> None:
    ran: list[str] = []
    ratio = time_in_pairs(lambda: ran.append("A"), lambda: ran.append("B"), 0)
    assert ran == ["A", "B", "A", "B", "B", "A"]  # the first two warm up
    assert ratio.rounds == 2
