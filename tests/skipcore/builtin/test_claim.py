"""The claim: arms that differ in nothing but what they skip, trained by turns, resumed exactly, told as they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("easy_vqa")
pytest.importorskip("accelerate")

from tiny_training import CLAIM

from skipcore import InputError, load
from skipcore.builtin.claim import measure, turns
from skipcore.builtin.claim.claim_arms import ARMS, arm_recipe, start_arms
from skipcore.builtin.claim.measure import arm_results, measure_claim
from skipcore.builtin.claim.turns import step_flops, train_by_turns
from skipcore.builtin.evaluation import many_answers as answering
from skipcore.builtin.evaluation.blind import guesser_for
from skipcore.builtin.training import recipe, runs
from skipcore.builtin.training import training_loop as finetune
from skipcore.flops import FlopCount

STEPS = 4
pytestmark = pytest.mark.usefixtures("quick_training")


def weights(run: runs.Run) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in run.weights.state_dict().items()}


def is_of_tower(name: str) -> bool:
    return "vision_tower" in name


def test_arms_begin_alike_with_the_start_s_weights(start: Path) -> None:
    runs = start_arms(CLAIM, start, STEPS)
    assert list(runs) == ["dense", "skip", "mixed"]
    first = weights(runs["dense"])
    for run in runs.values():
        assert all(torch.equal(first[name], tensor) for name, tensor in weights(run).items())
    given = load(start, device="cpu").model.state_dict()
    for name, tensor in runs["skip"].model.state_dict().items():
        assert torch.equal(tensor, given[name]), name


def test_arms_differ_in_skipping_alone() -> None:
    stage = CLAIM.stages[0]
    recipes = {arm.name: arm_recipe(CLAIM, arm, 10).stages[0] for arm in ARMS}
    assert len({replace(each, skipping=stage.skipping) for each in map(_hashable, recipes.values())}) == 1
    assert [finetune.skips_in(recipes["mixed"], step) for step in range(4)] == [False, True, False, True]
    assert all(finetune.skips_in(recipes["skip"], step) for step in range(4))
    assert not any(finetune.skips_in(recipes["dense"], step) for step in range(4))
    assert all(each.one_question_a_row for each in recipes.values())


def _hashable(stage: recipe.Stage) -> recipe.Stage:
    return replace(stage, question_shares=())  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"trains": "everything"}, {"image_side": 168}])
def test_other_recipes_are_refused(change: dict) -> None:
    with pytest.raises(InputError, match="cannot show the claim"):
        arm_recipe(replace(CLAIM, stages=(replace(CLAIM.stages[0], **change),)), ARMS[0])
    with pytest.raises(InputError, match="cannot show the claim"):
        arm_recipe(replace(CLAIM, stages=CLAIM.stages * 2), ARMS[0])


def test_shipped_recipes_can_show_it() -> None:
    for name in ("claim-cpu", "claim-gpu"):
        for arm in ARMS:
            assert arm_recipe(recipe.load_recipe(name), arm).stages[0].steps > 0


def test_skipping_saves_forward_and_backward(start: Path) -> None:
    runs = start_arms(CLAIM, start, 10)
    parts = turns.first_parts(runs["dense"])
    before = weights(runs["skip"])
    counted = {name: step_flops(run, parts, 4 if name == "mixed" else 1) for name, run in runs.items()}
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(runs["skip"]).items())
    decoder = {name: each["decoder"] for name, each in counted.items()}
    assert decoder["skip"] < 0.5 * decoder["dense"]
    assert decoder["skip"] < decoder["mixed"] < decoder["dense"]
    run, stage = runs["dense"], runs["dense"].recipe.stages[0]
    with FlopCount() as forward, torch.no_grad():
        run.trained(parts[0], None, stage.trains, stage.patch_weight)
    # Backward takes twice the forward's FLOPs, in attention two and a half times: it makes the scores once more.
    assert 3.0 < decoder["dense"] / forward.inside("language_model") < 3.5
    assert decoder["dense"] < counted["dense"]["everything"]


def test_a_kill_between_two_checkpoints_changes_nothing(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "STEPS_IN_A_TURN", 2)
    monkeypatch.setattr(turns, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    whole = start_arms(CLAIM, start, STEPS)
    lines = train_by_turns(whole, tmp_path / "whole")
    assert [(line["arm"], line["step"]) for line in lines] == [
        *((name, step) for name in ("dense", "skip", "mixed") for step in (1, 2)),
        *((name, step) for name in ("mixed", "skip", "dense") for step in (3, 4)),
    ]
    assert [line["is_warm"] for line in lines] == [False] * 6 + [True] * 6

    save, saved = runs.save_checkpoint, []

    def save_and_die(run: runs.Run, path: Path) -> None:
        saved.append(path)
        if len(saved) == 5:  # the second round: "dense" is saved, "skip" is not
            raise KeyboardInterrupt
        save(run, path)

    monkeypatch.setattr(turns, "save_checkpoint", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        train_by_turns(start_arms(CLAIM, start, STEPS), tmp_path / "killed")
    monkeypatch.setattr(turns, "save_checkpoint", save)
    resumed = start_arms(CLAIM, start, STEPS)
    again = train_by_turns(resumed, tmp_path / "killed")
    for name, run in whole.items():
        assert run.step == resumed[name].step == STEPS
        other = weights(resumed[name])
        assert all(torch.equal(tensor, other[key]) for key, tensor in weights(run).items())
    told = {(line["arm"], line["step"]): line["loss"] for line in lines}
    assert len(again) == len(lines) and {(each["arm"], each["step"]): each["loss"] for each in again} == told
    logged = [json.loads(line) for line in (tmp_path / "killed" / "log.jsonl").read_text().splitlines()]
    assert logged == again

    given = load(start, device="cpu").model.state_dict()
    for run in whole.values():
        trained = run.model.state_dict()
        assert all(torch.equal(given[name], tensor) for name, tensor in trained.items() if is_of_tower(name))
        assert any(not torch.equal(given[name], trained[name]) for name in trained if "projector" in name)
    assert len({run.model.lm_head.weight.sum().item() for run in whole.values()}) == 3


def test_times_are_told_against_dense_without_the_first_round() -> None:
    def line(arm: str, step: int, seconds: float, is_warm: bool = True) -> dict:
        peak = {"dense": 200, "skip": 100, "mixed": 150}[arm] + step
        return {
            "arm": arm, "step": step, "loss": float(step), "seconds": seconds, "is_warm": is_warm,
            "peak_memory_bytes": peak,
        }  # fmt: skip

    seconds = {"dense": 4.0, "skip": 1.0, "mixed": 3.0}
    lines = [line(arm, step, seconds[arm]) for arm in seconds for step in (2, 3)]
    lines += [line(arm, 1, 100.0, is_warm=False) for arm in seconds]
    flops = {"dense": (100, 80), "skip": (30, 16), "mixed": (60, 40)}
    counts = {name: {"everything": both[0], "decoder": both[1]} for name, both in flops.items()}
    arms = {each.name: each for each in arm_results(lines, counts, {name: [] for name in flops})}
    skip = arms["skip"]
    assert (skip.time_percent, skip.mean_time_percent) == (25.0, 25.0)
    assert (skip.flops_percent, skip.decoder_flops_percent) == (30.0, 20.0)
    assert skip.peak_memory_percent == round(100 * 103 / 203, 1)
    assert arms["dense"].time_percent == 100.0 and arms["mixed"].step_seconds.steps == 2
    for each in lines:
        each["peak_memory_bytes"] = None
    assert arm_results(lines, counts, {name: [] for name in flops})[1].peak_memory_percent is None


def test_from_start_to_table(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "MAX_NEW_TOKENS", 3)
    monkeypatch.setattr(turns, "STEPS_IN_A_TURN", 1)
    monkeypatch.setattr(measure, "guesser_for", lambda split, contents: guesser_for(split, 200))
    output, folder = tmp_path / "results" / "claim.json", tmp_path / "runs"
    table = measure_claim(CLAIM, start, output, folder, steps=2, num_questions=3)
    result = json.loads(output.read_text())
    assert [arm["name"] for arm in result["arms"]] == ["dense", "skip", "mixed"]
    assert result["steps"] == 2 and result["split"]["questions"] == 3
    assert [len(arm["evaluated"]) for arm in result["arms"]] == [3, 6, 6]
    assert {score["settings"].get("retain") for score in result["arms"][1]["evaluated"]} == {
        None, "saliency", "raster", "uniform", "random",
    }  # fmt: skip
    assert result["arms"][0]["peak_memory_bytes"] is None and "GPU" in result["notes"][0]
    assert result["device"]["kind"] == "cpu" and result["device"]["dtype"] == "float32"
    assert output.with_suffix(".md").read_text() == table + "\n"
    assert "(b) Skip-Vision 100+156" in table and "not available" in table and "blind guess" in table
    assert len(output.with_suffix(".jsonl").read_text().splitlines()) == 6

    def no_more(*arguments: object) -> None:
        raise AssertionError("what is done is done again")

    monkeypatch.setattr(turns, "timed_step", no_more)
    monkeypatch.setattr(answering, "greedy", no_more)
    measure_claim(CLAIM, start, output, folder, steps=2, num_questions=3)
    assert json.loads(output.read_text())["arms"] == result["arms"]
    with pytest.raises(InputError, match="Move that folder away"):
        measure_claim(CLAIM, start, output, folder, steps=3, num_questions=3)
