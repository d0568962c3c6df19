"""Two processes train what one trains: DDP and FSDP2, weights and adapters, a rank without pictures, going on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import tuner_process

from skipcore import load

pytest.importorskip("peft")
pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="torch lacks gloo here"
)
SCRIPT = Path(tuner_process.__file__)
CASES = [
    {"model": "Qwen2.5-VL"},
    {"model": "LLaVA", "lora": True},
    {"model": "Qwen2.5-VL", "order": "one rank without pictures", "skip_share": 1.0},
]


def together(kind: str, cases: list[dict], folder: Path) -> list[dict]:
    """What two processes find."""
    given, results = folder / "cases.json", folder / "results.json"
    given.write_text(json.dumps([{"kind": kind, "folder": str(folder / "any")} | case for case in cases]))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(SCRIPT)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),  # the same packages as here
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        **(tuner_process.FSDP2 if kind == "FSDP2" else {}),
    }
    done = subprocess.run(
        [*command, str(given), str(results)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(results.read_text())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return [tuner_process.run(case | {"folder": str(tmp_path_factory.mktemp("alone"))}) for case in CASES]


def assert_same(found: dict, wanted: dict) -> None:
    for name, value in wanted.items():
        torch.testing.assert_close(torch.tensor(found[name]), torch.tensor(value), rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("kind", ["DDP", "FSDP2"])
def test_two_processes_equal_one(kind: str, alone: list[dict], tmp_path: Path) -> None:
    """A8 and A9: losses, gradient norms and scores, half of the steps dense; and no process waits for ever."""
    for found, wanted in zip(together(kind, CASES, tmp_path), alone, strict=True):
        assert_same(found, wanted)


def test_sharded_runs_go_on(tmp_path: Path) -> None:
    """A10: the steps after a checkpoint are those of the run without a stop; the last folder holds a whole model."""
    saves = {"save_strategy": "steps", "save_steps": 2}
    kinds = [
        {"model": "Qwen2.5-VL", "state": "SHARDED_STATE_DICT"},
        {"model": "Qwen2.5-VL", "state": "FULL_STATE_DICT"},
        {"model": "LLaVA", "lora": True},
    ]
    cases = []
    for number, case in enumerate(kinds):
        whole = case | {"folder": str(tmp_path / str(number)), "options": saves}
        cases += [whole, whole | {"resume": str(tmp_path / str(number) / "checkpoint-2")}]
    found = together("FSDP2", cases, tmp_path)
    for whole, again in zip(found[::2], found[1::2], strict=True):
        assert_same(again, whole)
    assert load(tmp_path / "0").method is not None
    assert (tmp_path / "2" / "adapter_model.safetensors").is_file()
