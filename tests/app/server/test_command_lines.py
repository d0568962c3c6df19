"""How command lines end: with a sentence and a status, never with a traceback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from shared_models import ROOT, noise_picture

from app.__main__ import run as app_main
from profiling.__main__ import main as profiling_main
from skipcore import Vlm, command_line
from skipcore.__main__ import main as skipcore_main
from skipcore.builtin.__main__ import main as training_main
from skipcore.command_line import BAD_INPUT, CLOSED_PIPE, INTERRUPTED, OUT_OF_MEMORY

COMMANDS: dict[str, tuple[str, Callable[[list[str]], int], list[str]]] = {
    "skipcore": ("skipcore.__main__.load", skipcore_main, ["ask", "--model", "m", "--image", "i", "--question", "q"]),
    "profiling": ("profiling.__main__.load", profiling_main, ["compare", "--image", "i", "--question", "q"]),
    "training": ("skipcore.builtin.__main__.load", training_main, ["evaluate"]),
    "app": ("app.__main__.load", app_main, []),
}
ENDS = {
    "GPU": (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), OUT_OF_MEMORY, "too little memory"),
    "CPU": (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), OUT_OF_MEMORY, "too little memory"),
    "Python": (MemoryError(), OUT_OF_MEMORY, "too little memory"),
    "Ctrl-C": (KeyboardInterrupt(), INTERRUPTED, "Ctrl-C"),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_ends_with_a_sentence(name: str, end: str, monkeypatch, capsys) -> None:
    where, main, arguments = COMMANDS[name]
    error, status, says = ENDS[end]

    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(where, fail)
    assert main(arguments) == status
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("error: ") and says in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("skipcore", ["ask", "--model", "/nowhere", "--image", "i", "--question", "q"]),
        ("skipcore", ["calibrate", "--model", "/nowhere", "--pictures", "/nowhere"]),
        ("skipcore", ["calibrate", "--model", "m", "--pictures", "i", "--output", "/nowhere/c.json"]),
        ("profiling", ["compare", "--image", "/nowhere.png", "--question", "q"]),
        ("profiling", ["compare", "--image", "i", "--question", "q", "--calibration", "/nowhere.json"]),
        ("profiling", ["bench", "--output", "/nowhere/b.json"]),
        ("profiling", ["sweep-report", "/nowhere.json"]),
        ("training", ["evaluate", "--model", "/nowhere"]),
        ("training", ["train", "--recipe", "/nowhere.toml"]),
        ("training", ["claim", "--recipe", "/nowhere.toml"]),
        ("training", ["plot", "/nowhere.jsonl", "out.png"]),
        ("training", ["plot", "/nowhere.json", "out.png"]),
        ("app", ["--model", "/nowhere"]),
        ("app", ["--calibration", "/nowhere.json"]),
    ],
)
def test_files_that_do_not_exist(name: str, arguments: list[str], capsys) -> None:
    assert COMMANDS[name][1](arguments) == BAD_INPUT
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1


def test_a_port_that_is_taken_or_none(scenes: Vlm, capsys) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for port, says in ((taken.getsockname()[1], "another --port"), (2**16, "0 to 65535"), (-1, "0 to 65535")):
            assert app_main(["--one-model", "--port", str(port)]) == BAD_INPUT
            printed = capsys.readouterr().err
            assert printed.splitlines()[-1].startswith("error: ") and says in printed and "Traceback" not in printed


HIDDEN = """
import importlib, pkgutil, sys
for name in ("easy_vqa", "matplotlib", "playwright", "pytest", "lmms_eval"):
    sys.modules[name] = None
import app, profiling, skipcore
for package in (app, profiling, skipcore):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if module.name != "profiling.lmms_eval_model":
            importlib.import_module(module.name)
from skipcore.builtin.scenes.easy_vqa import load_split
sys.exit(skipcore.command_line.run(lambda: load_split("test")))
"""


def test_what_only_tests_and_training_need_may_be_missing() -> None:
    """`make app` does not install it."""
    done = subprocess.run([sys.executable, "-c", HIDDEN], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == BAD_INPUT, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: easy-VQA needs another package.")


def test_what_is_unexpected_stays_a_traceback() -> None:
    with pytest.raises(RuntimeError, match="on purpose"):
        command_line.run(lambda: (_ for _ in ()).throw(RuntimeError("on purpose")))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pictures") / "picture.png"
    noise_picture(0).save(file)
    return file


@pytest.mark.parametrize("also_errors", [False, True])
def test_a_closed_pipe_ends_quietly(image: Path, also_errors: bool) -> None:
    """As `… --json | head` does, and `… 2>&1 | head`."""
    command = [sys.executable, "-m", "profiling", "compare", "--image", str(image), "--question", "?", "--json"]
    command += ["--repeats", "1", "--max-new-tokens", "1"]
    reader, writer = os.pipe()
    os.close(reader)
    errors = writer if also_errors else subprocess.PIPE
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=errors, text=True, check=False)
    os.close(writer)
    assert done.returncode == CLOSED_PIPE
    assert also_errors or done.stderr == ""  # no bar either, since nobody looks


def test_help_into_a_closed_pipe_ends_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "skipcore", "--help"]
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode in (0, CLOSED_PIPE) and done.stderr == ""
