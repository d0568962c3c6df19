"""The benchmark of long prompts on a small decoder: what it records, and that memory and kernels stay in bounds."""

from __future__ import annotations

import json

import pytest

from profiling import __main__ as command_line
from profiling.bench import long_prompts as long_bench
from profiling.bench.long_prompts import LongRun, long_model, long_record, long_table, methods_of, run_long_bench
from profiling.bench.random_models import DecoderSize
from skipcore import METHODS
from skipcore.model.preset import PRESET


@pytest.fixture(scope="module")
def runs() -> list[LongRun]:
    vlm = long_model(DecoderSize(hidden_size=32, num_layers=4, num_heads=2, num_key_value_heads=1))
    return list(run_long_bench(vlm, (576, 2_880), 1))


def test_every_method_is_in_it() -> None:
    kinds = {type(method) for method in methods_of(4)}
    assert {METHODS[name] for name in METHODS} - kinds == {METHODS["DyMU"]}


def test_what_it_records(runs: list[LongRun]) -> None:
    dense = [run for run in runs if run.method == "Dense"]
    assert all((run.flops, run.time, run.kernels, run.memory, run.kv) == (1, 1, 1, 1, 1) for run in dense)
    assert all(run.time_for_flops == pytest.approx(run.time / run.flops, rel=0.01) for run in runs)
    preset = [run for run in runs if run.method == PRESET.label]
    assert all(run.flops < 0.6 and run.kv < 0.6 for run in preset)


def test_the_largest_tensor_grows_with_the_prompt(runs: list[LongRun]) -> None:
    by_length = [{run.method: run.largest for run in runs if run.visual_tokens == count} for count in (576, 2_880)]
    for method, largest in by_length[1].items():
        # comparing tokens with others takes chunks of a fixed number of rows: as many elements a token at every length
        assert largest <= max(1.05 * by_length[0][method], 1_100), method


def test_kernels_do_not_grow_with_the_prompt(runs: list[LongRun]) -> None:
    """But for methods that choose token by token, or compare them in chunks."""
    for run in runs:
        if not run.method.startswith(("DivPrune", "SPIDER", "Uniform")):
            assert run.kernels < 2, run.method


def test_the_last_line_is_the_record(runs: list[LongRun], monkeypatch, capsys, tmp_path) -> None:
    vlm = long_model(DecoderSize(hidden_size=32, num_layers=4, num_heads=2, num_key_value_heads=1))
    monkeypatch.setattr(long_bench, "long_model", lambda: vlm)
    monkeypatch.setattr(long_bench, "run_long_bench", lambda *_: iter(runs))
    assert command_line.main(["bench-long", "--output", str(tmp_path / "long.json")]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert json.loads(last) == json.loads(json.dumps(long_record(runs, vlm, 3)))
    assert json.loads((tmp_path / "long.json").read_text()) == json.loads(last)
    assert long_table(runs).count("\n") == len({run.method for run in runs}) + 1
    assert tuple(long_bench.GRIDS) == (576, 2_880, 8_192, 15_360)
