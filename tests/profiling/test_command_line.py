"""`python -m profiling`: a table, the JSON, and a sentence for bad input."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from shared_models import ROOT, SCENES, noise_picture

from profiling import __main__ as command_line


@pytest.fixture
def image(tmp_path) -> str:
    noise_picture(0).save(tmp_path / "picture.png")
    return str(tmp_path / "picture.png")


@pytest.fixture
def ask(image: str, capsys):
    def run(*more: str) -> tuple[int, str, str]:
        base = ["compare", "--image", image, "--question", "what is it?", "--max-new-tokens", "3", "--repeats", "1"]
        status = command_line.main([*base, *more])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_table(ask) -> None:
    status, table, _ = ask("--retained", "36", "--skipped", "0.2")
    assert status == 0
    assert "Skip-Vision 36+20%" in table and "Dense" in table
    assert "Energy" in table and "not available" in table
    assert "of the FLOP saving became time" in table


def test_json(ask) -> None:
    status, printed, _ = ask("--json", "--paper", "llava")
    report = json.loads(printed)
    assert status == 0
    assert report["arms"][1]["settings"]["merge_order"] == "redundancy"
    assert report["image_grid"] == [[24, 24]]


def test_files_beside_the_table(ask, tmp_path) -> None:
    files = {name: str(tmp_path / f"out.{name}") for name in ("csv", "html", "trace")}
    status, table, _ = ask(*(part for name, file in files.items() for part in (f"--{name}", file)))
    assert status == 0 and "Dense" in table
    assert (tmp_path / "out.csv").read_text().count("\n") == 3
    assert json.loads((tmp_path / "out.trace").read_text())["traceEvents"]
    assert (tmp_path / "out.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    "more, says",
    [
        (("--retained", "-4"), "negative"),
        (("--retained", "3", "--skipped", "0"), "at least 1"),
        (("--image", "/nowhere.png"), "no picture file"),
        (("--question", ""), "Type a question"),
        (("--model", "/nowhere"), "cannot be loaded"),
        (("--max-new-tokens", "0"), "at least 1"),
        (("--paper", "llava", "--retained", "36"), "whole setting"),
        (("--html", "/nowhere/report.html"), "cannot be written"),
    ],
)
def test_bad_input_gets_a_sentence(ask, more: tuple[str, ...], says: str) -> None:
    status, out, error = ask(*more)
    assert status == 2 and out == ""
    sentence = error.splitlines()[-1]  # transformers may show a loading bar before it
    assert sentence.startswith("error: ") and says in sentence
    assert "Traceback" not in error


def test_as_a_program(image: str) -> None:
    command = [
        sys.executable,
        "-m",
        "profiling",
        "compare",
        "--image",
        image,
        "--question",
        "?",
        "--model",
        str(SCENES),
    ]
    done = subprocess.run([*command, "--repeats", "1", "--json"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["model"] == "scenes"
