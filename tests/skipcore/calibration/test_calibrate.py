"""Calibration: what it measures, what it chooses, how it goes on, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from shared_models import noise_picture
from tiny_families import LAYERS, tiny_model

from skipcore import InputError, Vlm, calibrate, load_calibration
from skipcore.__main__ import main, table_of
from skipcore.answering.agreement import Agreement, log_probs_along
from skipcore.calibration.candidates import RULES, rule_of, skipping
from skipcore.methods import METHODS, Combined, Dense, DivPrune, PyramidDrop, VisionZip
from skipcore.methods.as_json import method_from_json, method_to_json

PICTURES = [noise_picture(1), noise_picture(2)]
SHORT: dict[str, Any] = {"answer_tokens": 3}


@pytest.fixture(params=["LLaVA", "Gemma 3"])
def vlm(request: pytest.FixtureRequest) -> Vlm:
    return tiny_model(request.param)


def test_agreement() -> None:
    dense = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.4, 0.4 - 1e-6]]).log()
    same = Agreement.between(dense, dense)
    assert (same.kl, same.top1) == (0, 1)
    other = torch.tensor([[0.25, 0.5, 0.25], [0.2, 0.4, 0.4 - 1e-6]]).log()
    found = Agreement.between(dense, other)
    assert found.kl == pytest.approx((0.5 * torch.tensor(2.0).log() - 0.25 * torch.tensor(2.0).log()).item() / 2)
    assert found.top1 == 0.5
    assert Agreement.mean([same, found]).top1 == 0.75


@torch.inference_mode()
def test_log_probs_along_an_answer_are_those_of_a_plain_forward(vlm: Vlm) -> None:
    inputs = vlm.prepare(PICTURES[0], "What is it?").inputs
    answer = [70, 80, 90]
    found = log_probs_along(vlm, inputs, Dense(), answer)
    together = dict(inputs, input_ids=torch.cat([inputs["input_ids"], torch.tensor([answer[:-1]])], dim=1))
    for name in ("attention_mask", "mm_token_type_ids", "token_type_ids"):
        if name in inputs:
            filler = torch.full((1, 2), int(name == "attention_mask"))
            together[name] = torch.cat([inputs[name], filler], dim=1)
    expected = vlm.model(**together).logits[0, -3:].log_softmax(-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_it_reaches_both_targets_with_the_least_change(vlm: Vlm) -> None:
    found = calibrate(vlm, PICTURES, "What is it?", 0.7, 0.8, **SHORT)
    assert found.choice.flops <= 0.7 and found.choice.kv <= 0.8 and found.positions == 6
    assert [rival.name for rival in found.rivals] == ["preset", "uniform", "random"]
    within = [rival for rival in found.rivals if rival.flops <= 0.7 and rival.kv <= 0.8]
    assert len(within) >= 2 and found.choice.kl <= min(rival.kl for rival in within)
    assert found.choice.label == found.method.label
    assert len(found.ffn_kl) == len(found.attention_kl) == len(found.ffn_update) == LAYERS
    assert all(kl >= 0 for kl in (*found.ffn_kl, *found.attention_kl))
    assert table_of(found).count("\n") >= LAYERS + 5


def test_it_finds_the_layer_that_does_nothing(vlm: Vlm) -> None:
    silent = vlm.model.get_decoder().layers[1]
    kept = [linear.weight.clone() for linear in (silent.self_attn.o_proj, silent.mlp.down_proj)]
    silent.self_attn.o_proj.weight.zero_()
    silent.mlp.down_proj.weight.zero_()
    try:
        found = calibrate(vlm, PICTURES, ["What?", "Where is it?"], 0.9, 1.0, rules=["PyramidDrop"], **SHORT)
    finally:
        silent.self_attn.o_proj.weight.copy_(kept[0])
        silent.mlp.down_proj.weight.copy_(kept[1])
    assert found.ffn_kl[1] < 1e-6 < found.ffn_kl[0]
    assert found.ffn_kl[2] < 1e-6  # no text ever reads what the last layer makes of visual tokens
    assert {1, 2} & {*found.choice.layers, *found.choice.attention_layers}  # what skips changes nothing
    assert found.choice.kl < 1e-6
    assert found.ffn_update[1] == 0 < min(found.ffn_update[0], found.ffn_update[2])


def test_what_the_kv_target_allows_is_dropped_and_the_rest_skips() -> None:
    """FLOPs that dropping within the KV target does not save come from skipping."""
    vlm = tiny_model("LLaVA")
    found = calibrate(vlm, PICTURES, "What?", 0.45, 0.75, rules=["VisionZip"], **SHORT)
    assert found.choice.flops <= 0.45 and found.choice.kv <= 0.75
    assert isinstance(found.method, Combined) and found.choice.layers + found.choice.attention_layers


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_rule_leaves_its_share_of_the_tokens(name: str, share: float) -> None:
    vlm = tiny_model("LLaVA")
    prepared = vlm.prepare(PICTURES[0], "What?")
    method = rule_of(name, LAYERS)(share)
    with torch.inference_mode(), method(vlm.model) as session:
        vlm.model(**prepared.with_features(vlm.encode(prepared, VisionZip())))
    if name == "PyramidDrop":  # its three stages fall on two layers of such a short decoder
        first, second, third = method.num_kept
        assert (1 + first + second + third) / 4 == pytest.approx(share, abs=1e-3)
        assert second == pytest.approx(first**2, abs=1e-3) and third == pytest.approx(first**3, abs=1e-3)
    else:
        assert session.trace.visual_tokens == pytest.approx(64 * share, abs=1)


@pytest.mark.parametrize(
    "method",
    [
        DivPrune(0.3),
        PyramidDrop(),
        skipping(None, 0.5, [("ffn", 1), ("attention", 0)]),
        Combined(VisionZip(0.4, 0.1), skipping(None, 1.0, [("ffn", 2)])),  # type: ignore[arg-type]
    ],
)
def test_a_method_survives_json(method: Any) -> None:
    assert method_from_json(json.loads(json.dumps(method_to_json(method)))) == method


def test_it_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    vlm, record, told = tiny_model("LLaVA"), tmp_path / "record.jsonl", []

    class CutOff(Exception):
        pass

    def cut_off(what: str, done: int, most: int) -> None:
        told.append(done)
        if done == 5:
            raise CutOff

    settings: dict[str, Any] = dict(SHORT, rules=["DivPrune"], record=record)
    with pytest.raises(CutOff):
        calibrate(vlm, PICTURES, "What?", 0.6, progress=cut_off, **settings)
    assert told == [1, 2, 3, 4, 5]
    lines = record.read_text().splitlines()
    record.write_text("\n".join(lines) + '\n{"method": "half a li')
    again = calibrate(vlm, PICTURES, "What?", 0.6, **settings)
    whole = record.read_text().splitlines()
    assert whole[: len(lines)] == lines and len({json.loads(line)["method"] for line in whole[1:]}) == len(whole) - 1
    told.clear()
    calibrate(vlm, PICTURES, "What?", 0.6, progress=lambda what, done, most: told.append(done), **settings)
    assert told == []  # nothing is measured twice, also not what came right after the torn line
    assert again == calibrate(vlm, PICTURES, "What?", 0.6, rules=["DivPrune"], **SHORT)
    with pytest.raises(InputError, match="another model or set of questions"):
        calibrate(vlm, PICTURES[:1], "What?", 0.6, **settings)


def test_the_targets_are_reached_over_all_pictures_in_any_order() -> None:
    """Pictures of other sizes cost other shares of the dense FLOPs."""
    vlm = tiny_model("Qwen2.5-VL")
    pictures = [noise_picture(1, 120, 80), noise_picture(2, 24, 24)]
    settings: dict[str, Any] = dict(SHORT, rules=["VisionZip"])
    found, reversed_ = (calibrate(vlm, each, "What?", 0.7, 0.8, **settings) for each in (pictures, pictures[::-1]))
    assert found.method == reversed_.method
    assert (found.choice.flops, found.choice.kv) == (reversed_.choice.flops, reversed_.choice.kv)
    assert vars(calibrate(vlm, pictures[0], "What?", 0.7, 0.8, **settings).choice) != vars(found.choice)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"target": 0}, "above 0 and below 1"),
        ({"target": "half"}, "above 0 and below 1"),
        ({"kv_target": 1.5}, "above 0 and at most 1"),
        ({"pictures": []}, "at least one picture"),
        ({"rules": []}, "one rule"),
        ({"rules": ["Best"]}, "no rule 'Best'"),
        ({"questions": ["a", "b", "c"]}, "2 pictures but 3 questions"),
        ({"target": 0.01}, "raise the targets"),
        ({"pictures": ["nowhere.png"]}, "nowhere.png"),
        ({"answer_tokens": 0}, "at least 1"),
        ({"pictures": [PICTURES[0], []]}, "a picture with each question"),
        ({"pictures": [[]], "questions": "What?"}, "a picture with each question"),
        ({"pictures": 3}, "at least one picture"),
        ({"pictures": Path("nowhere.png")}, "nowhere.png"),
        ({"questions": 3}, "one question as text"),
        ({"record": "."}, "could not be written"),
    ],
)
def test_impossible_wishes_are_refused_with_a_sentence(change: dict, says: str) -> None:
    wishes = {"pictures": PICTURES, "questions": "What?", "target": 0.5} | SHORT | change
    if change.get("pictures") == ["nowhere.png"]:
        wishes["questions"] = ["What?"]
    with pytest.raises(InputError, match=says):
        calibrate(tiny_model("LLaVA"), **wishes)


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    vlm = tiny_model("LLaVA")
    vlm.model.save_pretrained(tmp_path / "model")
    vlm.processor.save_pretrained(tmp_path / "model")
    (tmp_path / "pictures").mkdir()
    noise_picture(1).save(tmp_path / "pictures" / "one.png")
    output = tmp_path / "found.json"
    command = ["calibrate", "--model", str(tmp_path / "model"), "--target", "0.7", "--output", str(output)]
    assert main([*command, "--pictures", str(tmp_path / "pictures"), "--question", "What?"]) == 0
    assert load_calibration(output).choice.flops <= 0.7
    assert "calibrated" in capsys.readouterr().out and not list(tmp_path.glob("*.jsonl"))
    assert main([*command, "--pictures", str(tmp_path)]) == 2
    assert "no picture in the folder" in capsys.readouterr().err
    for folder in (str(tmp_path), ""):  # told before anything is measured
        assert main([*command, "--pictures", str(tmp_path / "pictures"), "--output", folder]) == 2
        assert "is a folder: name a file in it" in capsys.readouterr().err


def test_an_older_file_of_dymu_is_read() -> None:
    old = {"name": "DyMU", "settings": {"thresholds": [0.5], "exact": True}}
    assert method_from_json(old) == METHODS["DyMU"](thresholds=(0.5,))
