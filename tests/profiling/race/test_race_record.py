"""A race as a whole: recorded, cut off and gone on with, shared by processes, and refused where it does not fit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from shared_models import ROOT, noise_picture
from test_race_accuracy import asked

import profiling.race.run as running
from profiling import __main__ as command_line
from profiling.race.data import DataSet, load_data
from profiling.race.method_cost import Stopwatch, measure_cost
from profiling.race.processes import Process
from profiling.race.results import RaceResult, read_race
from profiling.race.run import Race, measure_race
from skipcore import Dense, InputError, SkipVision, Vlm, ask
from skipcore.builtin.evaluation.asked import AskedPicture
from skipcore.builtin.questions.questions import Question
from skipcore.methods.div_prune import DivPrune

METHODS = ("VTW", "VisionZip")


@pytest.fixture(autouse=True, scope="module")
def few_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(running.PICTURES_IN_A_CHUNK, "cpu", 2)
        patch.setattr(running, "PICTURES_TO_TUNE_ON", 1)
        yield


@pytest.fixture(scope="module")
def race() -> Race:
    known = [
        AskedPicture(partial(noise_picture, number), (Question("test", "what?", "yes", "test"),)) for number in range(3)
    ]
    free = DataSet("free", tuple(asked(number) for number in range(5)), False)
    data = [free, DataSet("known", tuple(known), True, 0.5)]
    return Race(METHODS, [0.6], data, cost_prompts=0, repeats=1, max_new_tokens=3)


def figures(race: RaceResult) -> list:
    return [
        (data.name, data.asked, [(row.label, row.budget, row.score, round(row.kl, 5), row.same) for row in data.rows])
        for data in race.data
    ]


@pytest.fixture(scope="module")
def recorded(tiny: Vlm, race: Race, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The record of a race that nothing disturbed."""
    file = tmp_path_factory.mktemp("race") / "race.jsonl"
    measure_race(tiny, race, file, Process())
    return file.read_text()


@pytest.fixture
def whole(recorded: str, tmp_path: Path) -> Path:
    (tmp_path / "whole.jsonl").write_text(recorded)
    return tmp_path / "whole.jsonl"


def test_what_is_recorded(whole: Path) -> None:
    found = read_race(whole)
    assert [(data.name, data.asked, data.questions) for data in found.data] == [("free", 15, 15), ("known", 3, 3)]
    methods = {row.method for row in found.data[0].rows}
    assert methods == {"Dense", "SkipVision", "RandomTokens", "UniformGrid", "Downsampled", *METHODS}
    assert found.data[0].dense.score == 1.0 and found.data[1].dense.score == 0.0
    assert any(row.kl > 0 for row in found.data[0].rows) and found.timing is None
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("share", [0.3, 0.75, 0.98])
def test_a_killed_race_goes_on(tiny: Vlm, race: Race, whole: Path, tmp_path: Path, share: float, monkeypatch) -> None:
    """Cut within a line: nothing whole is measured again, and the result is the same."""
    text = whole.read_text()
    cut = tmp_path / "cut.jsonl"
    cut.write_text(text[: round(share * len(text))])
    assert not cut.read_text().endswith("\n")
    done = {(line["data"], line["chunk"], line["key"]) for line in map(json.loads, cut.read_text().splitlines()[:-1])
            if line["kind"] == "quality"}  # fmt: skip
    measured: list[int] = []
    real = running.measure_questions
    monkeypatch.setattr(running, "measure_questions", lambda *args: (measured.append(len(args[2])), real(*args))[1])
    measure_race(tiny, race, cut, Process())
    total = text.count('"kind": "quality"')
    assert sum(measured) == total - len(done) > 0
    assert figures(read_race(cut)) == figures(read_race(whole))
    measured.clear()
    before = cut.read_text()
    measure_race(tiny, race, cut, Process())
    assert measured == [] and cut.read_text() == before


def test_a_budget_more_asks_only_for_that(tiny: Vlm, race: Race, whole: Path) -> None:
    before = whole.read_text()
    measure_race(tiny, replace(race, budgets=[0.6, 0.3]), whole, Process())
    assert whole.read_text().startswith(before)
    assert {row.budget for row in read_race(whole).data[0].rows} == {None, 0.6, 0.3}


def test_processes_share_the_questions(tiny: Vlm, race: Race, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "shared.jsonl"
    measure_race(tiny, race, output, Process(0, 2, 0))
    assert read_race(output).data[0].asked < 15
    measure_race(tiny, race, output, Process(1, 2, 1))
    parts = [file.read_text().count('"kind": "quality"') for file in sorted(tmp_path.glob("shared*.jsonl"))]
    assert len(parts) == 2 and all(parts)
    assert sum(parts) == whole.read_text().count('"kind": "quality"')
    assert figures(read_race(output)) == figures(read_race(whole))


def test_another_model_s_file_is_refused(tiny: Vlm, race: Race, whole: Path) -> None:
    other = replace(tiny, name="other")
    with pytest.raises(InputError, match="written for another model: '"):
        measure_race(other, race, whole, Process())
    fewer = replace(race, data=[DataSet("free", race.data[0].pictures[:2], False)])
    with pytest.raises(InputError, match="15 other questions of 'free'"):
        measure_race(tiny, fewer, whole, Process())
    with pytest.raises(InputError, match="another kind: None"):
        (whole.parent / "foreign.jsonl").write_text('{"step": 1}\n')
        measure_race(tiny, race, whole.parent / "foreign.jsonl", Process())


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"methods": ["Sparse"]}, "no method 'Sparse'"),
        ({"budgets": [50.0]}, "between 0 and 1"),
        ({"budgets": []}, "between 0 and 1"),
        ({"data": []}, "at least one data set"),
    ],
)
def test_impossible_races_get_a_sentence(race: Race, changes: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        replace(race, **changes)


def test_costs_are_measured_together(tiny: Vlm, race: Race, tmp_path: Path) -> None:
    timed = replace(race, cost_prompts=1, methods=["DivPrune"], data=race.data[1:])
    output = tmp_path / "race.jsonl"
    measure_race(tiny, timed, output, Process(0, 2, 0))
    assert '"kind": "cost"' not in output.read_text()  # a CPU that processes share tells no times
    measure_race(tiny, timed, output, Process())
    found = read_race(output)
    for data in found.data:
        for row in data.rows:
            assert row.cost is not None and row.cost.prefill_ms > 0 and row.cost.peak_memory_bytes is None
            low, high = row.cost.prefill_range_ms
            assert low <= row.cost.prefill_ms <= high
        assert data.dense.cost.prefill_ratio == 1 and data.dense.cost.scoring_flops == 0
        prune = next(row for row in data.rows if row.method == "DivPrune")
        assert prune.cost.scoring_flops > 0 and prune.cost.scoring_time > 0
    lines = output.read_text().count('"kind": "cost"')
    measure_race(tiny, timed, output, Process())
    assert output.read_text().count('"kind": "cost"') == lines == 1
    measure_race(tiny, replace(timed, methods=["DivPrune", "VTW"]), output, Process())
    assert output.read_text().count('"kind": "cost"') == 2  # a method more: all are timed again, by turns


def test_the_stopwatch_sees_decisions_and_changes_none(tiny: Vlm, picture) -> None:
    for method in (DivPrune(0.3), SkipVision(0.2, 0.2)):
        clock = Stopwatch([tiny.device])
        assert ask(tiny, picture, "what?", clock.watching(method), 4) == ask(tiny, picture, "what?", method, 4)
        assert clock.milliseconds > 0
    costs = measure_cost(tiny, picture, "what?", {"a": Dense(), "b": DivPrune(0.3)}, 2)
    ratios = [costs["methods"][key]["scoring_flops_ratio"] for key in "ab"]
    assert ratios[0] == 0 < ratios[1]
    assert costs["methods"]["b"]["scoring_ms"] < costs["methods"]["b"]["prefill_ms"]


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({}, Process(0, 1, 0)),
        ({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}, Process(5, 8, 1)),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1"},
         Process(1, 2, 1)),
    ],
)  # fmt: skip
def test_processes_are_told_by_the_environment(environment: dict[str, str], expected: Process) -> None:
    assert Process.here(environment) == expected
    for number in range(7):
        assert [Process(index, 3).does(number) for index in range(3)].count(True) == 1


def folder_of_pictures(folder: Path) -> Path:
    folder.mkdir()
    for number in range(2):
        noise_picture(number).save(folder / f"{number}.png")
    lines = [
        {"picture": f"{number % 2}.png", "question": text} for number, text in enumerate(("what?", "why?", "how?"))
    ]
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return folder


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    data = load_data(str(folder_of_pictures(tmp_path / "mine")))
    assert (data.name, data.num_questions, data.has_truth, data.blind) == ("mine", 3, False, None)
    assert [[each.text for each in picture.questions] for picture in data.pictures] == [["what?", "how?"], ["why?"]]
    assert load_data(str(tmp_path / "mine"), 1).num_questions == 1
    assert data.fingerprint != load_data(str(tmp_path / "mine"), 2).fingerprint


@pytest.mark.parametrize(
    "text, says",
    [(None, "cannot be read"), ("", "no questions"), ('{"question": "?"}', "picture"), ("[]", "cannot be")],
)
def test_bad_questions_get_a_sentence(tmp_path: Path, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / "questions.jsonl").write_text(text)
    with pytest.raises(InputError, match=says):
        load_data(str(tmp_path))
    with pytest.raises(InputError, match="scenes-test"):
        load_data("nowhere")


def test_two_processes_of_the_command_line(tmp_path: Path, capsys) -> None:
    """As `accelerate launch` and torchrun start them; then the report, and its files."""
    pytest.importorskip("easy_vqa")
    folder, output = folder_of_pictures(tmp_path / "mine"), tmp_path / "race.jsonl"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "profiling",
               "sweep", "--methods", "VTW", "--budgets", "0.5", "--data", str(folder), "easy-vqa-test",
               "--questions", "30", "--output", str(output)]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("race-report") == 1 and (tmp_path / "race.process-1.jsonl").is_file()
    assert command_line.main(["sweep-report", str(output)]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["data"]["easy-vqa-test"]["questions"] == 30 and summary["data"]["easy-vqa-test"]["dense"] > 0.9
    assert summary["data"]["mine"]["dense"] == 1.0
    assert (tmp_path / "race.svg").read_text().startswith("<?xml")
    assert "Skip-Vision (trained for this model)" in (tmp_path / "race.md").read_text()
    json.loads((tmp_path / "race.json").read_text())


@pytest.mark.parametrize(
    "arguments, says",
    [
        (("race", "--output", "race.txt"), "end in .jsonl"),
        (("sweep", "--questions", "0"), "at least 1"),
        (("sweep", "--model", "/nowhere"), "cannot be loaded"),
        (("sweep", "--data", "nothing"), "no data set"),
        (("sweep", "--methods", "Sparse", "--data", "easy-vqa-test", "--questions", "2"), "no method 'Sparse'"),
        (("race-report", "/nowhere.jsonl"), "no record"),
    ],
)
def test_bad_input_gets_a_sentence(arguments: tuple[str, ...], says: str, capsys) -> None:
    assert command_line.main(list(arguments)) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_a_gpu_for_each_process(monkeypatch) -> None:
    from profiling.race.command import _own_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [_own_device(Process(index, 4, index % 2)) for index in range(4)] == ["cuda:0", "cuda:1"] * 2
    assert _own_device(Process()) is None
