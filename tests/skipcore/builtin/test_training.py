"""The training loop: a loss that falls, a resume that changes nothing, and faults that are told clearly."""

from __future__ import annotations

import errno
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("easy_vqa")

from accelerate.state import AcceleratorState
from training_runs import TINY, changed, copied, one_thread, recipe_of, tokenizer, train

from skipcore.builtin.training import runs
from skipcore.builtin.training import training_log as progress
from skipcore.builtin.training import training_loop as finetune
from skipcore.builtin.training.recipe import Recipe, Skipping
from skipcore.errors import InputError

SHORT = {"steps": 6, "warm_up": 1}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread, one tokenizer for all runs, and a line of the log to every two steps."""
    monkeypatch.setattr(runs, "build_tokenizer", tokenizer)
    monkeypatch.setattr(progress, "STEPS_BETWEEN_LOG_LINES", 2)
    with one_thread():
        yield


def trained(recipe: Recipe, folder: Path, workers: int = 0) -> runs.Run:
    run = runs.start(recipe, workers)
    train(run, folder)
    return run


def test_the_loss_falls(tmp_path: Path) -> None:
    run = runs.start(recipe_of({"steps": 40, "pictures": 6, "skip_pictures": 4}))
    before = copied(run.weights)
    lines = train(run, tmp_path)
    for name in ("loss_dense", "loss_skip", "loss_patches"):
        values = [line[name] for line in lines]
        assert len(values) == 20
        assert np.mean(values[-4:]) < 0.7 * np.mean(values[:2]), name
    unchanged = set(before) - changed(run.weights, before)
    assert not unchanged & {name for name, _ in run.weights.named_parameters() if "post_layernorm" not in name}
    assert run.is_complete and len(run.seconds) == 1 and run.seconds[0] > 0
    assert {"right_dense_scenes", "right_skip_scenes", "patches_right", "gradient", "rate"} <= set(lines[-1])


def killed_at(step: int, saved_at: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's checkpoint is written before one step, and the run is killed before a later one."""
    real = finetune.training_step

    def training_step(run: runs.Run, *arguments: Any) -> dict[str, float]:
        if (run.stage, run.step) == (0, saved_at):
            runs.save_checkpoint(run, folder / "checkpoint.pt")
        if run.step == step:
            raise KeyboardInterrupt
        return real(run, *arguments)

    monkeypatch.setattr(finetune, "training_step", training_step)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, accumulate: int
) -> None:
    """Bit-identical weights, with work lost between the checkpoint and the kill, and over a change of stage."""
    recipe = recipe_of({**SHORT, "accumulate": accumulate}, {"steps": 2, "image_side": 168, "trains": "decoder"})
    whole = trained(recipe, tmp_path / "whole")
    with monkeypatch.context() as patched:
        killed_at(5, 3, tmp_path, patched)
        with pytest.raises(KeyboardInterrupt):
            finetune.run_stage(runs.start(recipe, workers), tmp_path)
    resumed = runs.start(recipe, workers)
    runs.load_checkpoint(resumed, tmp_path / "checkpoint.pt")
    assert (resumed.stage, resumed.step) == (0, 3)
    train(resumed, tmp_path)
    assert changed(resumed.weights, copied(whole.weights)) == set()


def test_a_run_that_stops_for_time_goes_on(tmp_path: Path) -> None:
    recipe = recipe_of(SHORT)
    stopped = runs.start(recipe)
    finetune.run_stage(stopped, tmp_path, stop_at=-math.inf)
    assert (stopped.stage, stopped.step) == (0, 0) and not stopped.is_complete
    resumed = runs.start(recipe)
    runs.load_checkpoint(resumed, tmp_path / "checkpoint.pt")
    train(resumed, tmp_path)
    assert changed(resumed.weights, copied(trained(recipe, tmp_path / "whole").weights)) == set()


def test_a_recipe_fixes_the_run_and_its_seed_changes_it(tmp_path: Path) -> None:
    recipe = recipe_of({**SHORT, "steps": 2})
    first = trained(recipe, tmp_path / "a")
    assert changed(trained(recipe, tmp_path / "b").weights, copied(first.weights)) == set()
    assert changed(trained(replace(recipe, seed=4), tmp_path / "c").weights, copied(first.weights))


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_parts_of_a_step_share_its_pictures(tmp_path: Path, accumulate: int) -> None:
    """The log counts all pictures of a step, however many parts it is done in."""
    run = runs.start(
        recipe_of({**SHORT, "steps": 1, "skip_pictures": 0, "accumulate": accumulate, "skipping": Skipping()})
    )
    seen: list[int] = []
    run.model.model.vision_tower.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    finetune.run_stage(run, tmp_path)
    assert seen == [4 // accumulate] * accumulate


def test_pictures_must_be_shared_evenly() -> None:
    with pytest.raises(InputError, match="cannot share evenly"):
        runs.start(recipe_of({"pictures": 6, "accumulate": 4}))
    with pytest.raises(InputError, match="cannot share evenly"):
        runs.start(recipe_of({"pictures": 8, "skip_pictures": 2, "accumulate": 4}))


@pytest.mark.parametrize(
    ("trains", "still", "moved"),
    [
        ("tower", ("language_model", "summary"), ("vision_tower", "multi_modal_projector", "heads")),
        ("decoder", ("vision_tower", "heads"), ("language_model", "multi_modal_projector", "summary")),
        ("everything", (), ("language_model", "vision_tower", "multi_modal_projector", "summary", "heads")),
    ],
)
def test_a_stage_trains_what_it_says(
    tmp_path: Path, trains: str, still: tuple[str, ...], moved: tuple[str, ...]
) -> None:
    run = runs.start(recipe_of({**SHORT, "steps": 2, "trains": trains}))
    before = copied(run.weights)
    train(run, tmp_path)
    found = changed(run.weights, before)
    for part in still:
        assert not [name for name in found if part in name], part
    for part in moved:
        assert [name for name in found if part in name], part


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_only_steps_that_skip_train_the_summary(tmp_path: Path, share: float) -> None:
    run = runs.start(recipe_of({**SHORT, "steps": 2, "skipping": Skipping(share)}))
    before = copied(run.summary)
    lines = train(run, tmp_path)
    found = changed(run.summary, before)
    assert {"norm.weight", "score.weight"} <= found if share else not found
    assert ("loss_skip" in lines[0], "loss_dense" in lines[0]) == (share == 1, share == 0)


def poison(run: runs.Run) -> None:
    with torch.no_grad():
        run.model.lm_head.weight[5] = math.nan


def test_a_lost_loss_is_told_clearly_and_changes_nothing(tmp_path: Path) -> None:
    run = runs.start(recipe_of(SHORT))
    runs.save_checkpoint(run, tmp_path / "checkpoint.pt")
    kept = (tmp_path / "checkpoint.pt").read_bytes()
    poison(run)
    before = {name: weights for name, weights in copied(run.weights).items() if torch.isfinite(weights).all()}
    with pytest.raises(
        InputError, match=r"gradient became nan.*step 0 of stage 'stage 0'.*not finite is .*learning rate"
    ):
        finetune.run_stage(run, tmp_path)
    assert len(before) > 20
    assert all(torch.equal(weights, run.weights.state_dict()[name]) for name, weights in before.items())
    assert (tmp_path / "checkpoint.pt").read_bytes() == kept


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EDQUOT, "Quota"), RuntimeError("unexpected pos")],
    ids=["full", "quota", "torch"],
)
def test_a_full_disk_is_told_and_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    run = runs.start(TINY)
    path = tmp_path / "runs" / "checkpoint.pt"
    runs.save_checkpoint(run, path)
    kept = path.read_bytes()

    def full(state: dict, unfinished: Path) -> None:
        Path(unfinished).write_bytes(b"half")
        raise error

    monkeypatch.setattr(torch, "save", full)
    run.step = 5
    with pytest.raises(InputError, match="disk seems to be full"):
        runs.save_checkpoint(run, path)
    assert path.read_bytes() == kept
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.pt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_truly_full_disk(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.unfinished").symlink_to("/dev/full")
    with pytest.raises(InputError, match="disk seems to be full"):
        runs.save_checkpoint(runs.start(TINY), tmp_path / "checkpoint.pt")
    assert not (tmp_path / "checkpoint.pt").exists()


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    run = runs.start(TINY)
    path = tmp_path / "checkpoint.pt"
    runs.save_checkpoint(run, path)
    whole = path.read_bytes()
    damaged = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "text": b"not a checkpoint at all, but text" * 20,
        "zeros": bytes(5000),
    }
    for name, content in damaged.items():
        path.write_bytes(content)
        with pytest.raises(InputError, match="is no checkpoint of recipe 'tiny'"):
            runs.load_checkpoint(run, path)
        assert run.step == 0, name
    for state in ({"trained": {}}, [1, 2], {**torch.load(_written(path, whole)), "optimizers": []}):
        torch.save(state, path)
        with pytest.raises(InputError, match="is no checkpoint of recipe 'tiny'"):
            runs.load_checkpoint(run, path)


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_checkpoint_of_another_size_is_refused(tmp_path: Path) -> None:
    runs.save_checkpoint(runs.start(TINY), tmp_path / "checkpoint.pt")
    larger = replace(TINY, size=replace(TINY.size, decoder_ffn=96))
    with pytest.raises(InputError, match="as it stands now"):
        runs.load_checkpoint(runs.start(larger), tmp_path / "checkpoint.pt")


@pytest.fixture
def fresh_accelerate() -> Iterator[None]:
    """accelerate keeps one precision to a process; forget it before and after."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_half_precision_trains_float32_weights(tmp_path: Path, fresh_accelerate: None) -> None:
    recipe = replace(recipe_of({"steps": 30}, {**SHORT, "trains": "tower"}), mixed_precision="bf16")
    run = runs.start(recipe)
    kinds: set[torch.dtype] = set()
    mlp = run.model.get_decoder().layers[0].mlp.gate_proj
    mlp.register_forward_hook(lambda module, inputs, output: kinds.add(output.dtype))
    lines = train(run, tmp_path)
    assert kinds == {torch.bfloat16}
    assert {weights.dtype for weights in run.weights.parameters()} == {torch.float32}
    assert lines[14]["loss_dense"] < 0.8 * lines[0]["loss_dense"]


def test_every_step_has_data_of_its_own(tmp_path: Path) -> None:
    """Over steps, parts and stages no picture comes twice."""
    run = runs.start(recipe_of({**SHORT, "accumulate": 2}, SHORT))
    seen: list[bytes] = []
    run.model.model.vision_tower.register_forward_pre_hook(
        lambda module, inputs: seen.extend(picture.numpy().tobytes() for picture in inputs[0])
    )
    train(run, tmp_path)
    assert len(seen) == len(set(seen)) == 2 * (3 * 4 + 3 * 2)
