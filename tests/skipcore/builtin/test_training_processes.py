"""Training by two processes: the same weights in both, and a checkpoint that either number of processes reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("easy_vqa")

from training_runs import changed, copied, one_thread, recipe_of, tokenizer

from skipcore.builtin.training import runs
from skipcore.builtin.training import training_loop as finetune

RECIPE = recipe_of(
    {"steps": 2, "warm_up": 1, "trains": "everything", "accumulate": 2, "pictures": 4, "skip_pictures": 4},
    {"steps": 1, "warm_up": 1, "trains": "tower"},
    {"steps": 1, "warm_up": 1, "trains": "decoder"},
)


def train(folder: Path) -> None:
    """What each process does: train, and write its weights and the pictures it saw."""
    finetune.build_tokenizer = tokenizer
    run = runs.start(RECIPE)
    pixels: list[torch.Tensor] = []
    run.model.model.vision_tower.register_forward_pre_hook(lambda module, inputs: pixels.append(inputs[0]))
    while not run.is_complete:
        finetune.run_stage(run, folder)
    name = f"{run.accelerator.process_index} of {run.accelerator.num_processes}.pt"
    torch.save({"weights": run.weights.state_dict(), "pixels": torch.cat(pixels)}, folder / name)
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="torch lacks gloo here"
)
def test_two_processes_train_one_model(tmp_path: Path) -> None:
    here = Path(__file__).resolve()
    script = tmp_path / "train.py"
    script.write_text(f"from pathlib import Path\nimport test_training_processes\n"
                      f"test_training_processes.train(Path({str(tmp_path)!r}))\n")  # fmt: skip
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    paths = os.pathsep.join(sys.path)  # the same packages as here
    environment = {**os.environ, "PYTHONPATH": paths, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=here.parents[3], env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"{process} of 2.pt") for process in (0, 1))
    for name, weights in first["weights"].items():
        assert torch.equal(weights, second["weights"][name]), name
    seen = [{picture.numpy().tobytes() for picture in each["pixels"]} for each in (first, second)]
    assert [len(pictures) for pictures in seen] == [2 * 4 // 2 + 2 * 4 // 2] * 2
    assert not seen[0] & seen[1]
    assert (tmp_path / "log.jsonl").read_text().count("\n") == 3

    with one_thread():
        alone = runs.start(RECIPE)
        start = copied(alone.weights)
        runs.load_checkpoint(alone, tmp_path / "checkpoint.pt")
    assert alone.is_complete
    assert changed(alone.weights, first["weights"]) == set()
    assert len(changed(alone.weights, start)) > 20
