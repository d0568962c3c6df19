"""The train command: from a recipe's file to a folder that loads; a start from a model; a write that cannot harm."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

pytest.importorskip("easy_vqa")
pytest.importorskip("accelerate")

from tiny_training import CLAIM, SIZE, TOML

from skipcore import InputError, load
from skipcore.builtin import __main__ as command_line
from skipcore.builtin.training import model_folder as writing
from skipcore.builtin.training import runs
from skipcore.builtin.training.start import start_from

pytestmark = pytest.mark.usefixtures("quick_training")


def test_train_writes_a_model_that_loads_and_goes_on(tmp_path: Path, start: Path, capsys) -> None:
    recipe, output, runs = tmp_path / "tiny.toml", tmp_path / "model", tmp_path / "runs"
    recipe.write_text(TOML)
    options = ["train", "--recipe", str(recipe), "--output", str(output), "--runs", str(runs), "--workers", "0"]
    assert command_line.main([*options, "--start", str(start), "--minutes", "1e-9"]) == 0
    assert "Stopped" in capsys.readouterr().out
    assert not output.exists()  # nothing was trained: a model that lies there is left alone
    untrained = load(start).model.lm_head.weight
    output.mkdir()
    (output / "README.md").write_text("about this model")

    assert command_line.main([*options, "--start", str(start)]) == 0
    assert "Done" in capsys.readouterr().out
    vlm = load(output)
    assert not torch.equal(vlm.model.lm_head.weight, untrained)
    assert vlm.method is not None and vlm.method.label == "Skip-Vision 100+156" and vlm.method.summary is not None
    assert (output / "README.md").read_text() == "about this model"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

    assert command_line.main(options) == 0  # all is done: written from the checkpoint once more
    assert "Going on from stage 2, step 0." in capsys.readouterr().out
    assert torch.equal(load(output).model.lm_head.weight, vlm.model.lm_head.weight)


def test_weights_are_written_in_bfloat16_and_stay_in_float32(tmp_path: Path) -> None:
    run = runs.start(CLAIM)
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    writing.write_model(run, tmp_path / "model")
    for name, tensor in run.model.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, before[name])
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.bfloat16}  # noqa: SIM118
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"
    assert load(tmp_path / "model", device="cpu").model.dtype == torch.float32
    assert load(tmp_path / "model", device="cpu", dtype="auto").model.dtype == torch.float32
    assert load(tmp_path / "model", device="cpu", dtype=torch.bfloat16).model.dtype == torch.bfloat16


def test_a_failing_write_leaves_the_old_model_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, folder = runs.start(CLAIM), tmp_path / "model"
    writing.write_model(run, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "save_method", full)
    with torch.no_grad():
        run.model.lm_head.weight.zero_()
    with pytest.raises(InputError, match="No space left"):
        writing.write_model(run, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_run_starts_from_a_model(start: Path) -> None:
    run, vlm = runs.start(CLAIM), load(start, device="cpu")
    assert not torch.equal(run.model.lm_head.weight, vlm.model.lm_head.weight)
    start_from(run, start)
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, vlm.model.state_dict()[name]), name
    assert run.model.lm_head.weight.requires_grad and run.model.lm_head.weight.dtype == torch.float32
    assert run.processor.tokenizer.get_vocab() == vlm.processor.tokenizer.get_vocab()


def test_a_start_that_does_not_fit_is_told(start: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="another size"):
        start_from(runs.start(replace(CLAIM, size=replace(SIZE, decoder_ffn=32))), start)
    with pytest.raises(InputError, match=r"words|another size"):
        start_from(runs.start(replace(CLAIM, size=replace(SIZE, vocabulary=500))), start)
    with pytest.raises(InputError, match="cannot be loaded"):
        start_from(runs.start(CLAIM), tmp_path / "nothing")
