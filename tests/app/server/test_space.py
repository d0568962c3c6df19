"""The page as a Space runs it: its own files only, its own packages only, a disk that cannot be written."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import gradio
import httpx
import pytest
from fake_spaces import spaces
from gradio_client import Client, handle_file
from huggingface_hub import metadata_load
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from shared_models import ROOT

from app.server.space import run, write_space
from profiling import compare
from skipcore import Dense, InputError, Vlm

IS_ROOT = os.geteuid() == 0
# Nothing is read-only to root, unless it gives the power up.
LIKE_ANYBODY = ["setpriv", "--bounding-set=-dac_override"] if IS_ROOT else []
FAKE_SPACES = Path(__file__).parents[2] / "helpers" / "fake_spaces"
ONLY_REQUIRED = """import sys
class OnlyRequired:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {names!r} else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = map(OnlyRequired, sys.meta_path)
"""


def test_this_project_is_a_space(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "space"
    assert run([str(folder)]) == 0 and "hf upload" in capsys.readouterr().out
    names = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert {"README.md", "requirements.txt", "app/__main__.py", "assets/models/scenes/model.safetensors"} <= names
    assert not any(name.startswith(("tests", ".")) or "__pycache__" in name for name in names)
    assert run([str(folder)]) == 2 and "not an empty folder" in capsys.readouterr().err
    front = metadata_load(folder / "README.md")
    assert front["app_file"] in names and front["sdk_version"] == gradio.__version__


def test_a_folder_without_git_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\ntitle: x\n---\n")
    with pytest.raises(InputError, match="not a git repository"):
        write_space(tmp_path / "space", tmp_path)


def others_than_required() -> set[str]:
    """Modules that are installed here, but would not be by requirements.txt alone."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    waiting = [Requirement(line) for line in lines if line and not line.startswith("#")]
    needed: set[str] = set()
    while waiting:
        name = canonicalize_name(waiting.pop().name)
        if name in needed:
            continue
        needed.add(name)
        try:
            its = [Requirement(line) for line in requires(name) or []]
        except PackageNotFoundError:  # for other machines
            continue
        waiting += [each for each in its if each.marker is None or each.marker.evaluate({"extra": ""})]
    return {
        module
        for module, distributions in packages_distributions().items()
        if not needed & {canonicalize_name(name) for name in distributions}
    }


@contextmanager
def space(**environment: str) -> Iterator[tuple[str, Path]]:
    """A running Space: its address, and a folder with its files, its home and its log."""
    base = Path(tempfile.mkdtemp(prefix="space-test-"))
    tree, home, temporary, extra = (base / name for name in ("space", "home", "tmp", "extra"))
    for folder in (home, temporary, extra):
        folder.mkdir()
    write_space(tree)
    (extra / "sitecustomize.py").write_text(ONLY_REQUIRED.format(names=others_than_required() - {"sitecustomize"}))
    if environment:
        shutil.copy(FAKE_SPACES / "spaces.py", extra)
    for path in [path for folder in (tree, home) for path in (folder, *folder.rglob("*"))]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (base / "log").open("w+")
    process = subprocess.Popen(
        [*LIKE_ANYBODY, sys.executable, "app/__main__.py"],
        cwd=tree,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "PYTHONPATH": str(extra),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "GRADIO_SERVER_NAME": "127.0.0.1",
            "GRADIO_SERVER_PORT": str(port),
            **environment,
        },
    )
    address = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(600):
            if process.poll() is not None:
                break
            try:
                httpx.get(address)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        assert process.poll() is None, (base / "log").read_text()
        yield address, base
    finally:
        process.terminate()
        process.wait()
        log.close()
        shutil.rmtree(base)


@pytest.mark.skipif(IS_ROOT and shutil.which("setpriv") is None, reason="everything can be written by root")
@pytest.mark.parametrize("environment", [{}, {"SPACES_ZERO_GPU": "true"}], ids=["CPU", "ZeroGPU"])
def test_a_space_answers_and_writes_nothing(environment: dict[str, str], scenes: Vlm) -> None:
    picture, question = ROOT / "assets" / "examples" / "gray-triangle.png", "What shape is it?"
    with space(**environment) as (address, base):
        before = changes_of(base / "space") | changes_of(base / "home")
        report = Client(address, verbose=False).predict(
            handle_file(picture), question, max_new_tokens=4, api_name="/compare"
        )
        assert changes_of(base / "space") | changes_of(base / "home") == before
        assert (spaces.WORKS in (base / "log").read_text()) == bool(environment)
    expected = compare(scenes, picture, question, [Dense(), scenes.skipping], max_new_tokens=4)
    assert [arm["answer"] for arm in report["arms"]] == [arm.answer for arm in expected.arms]
    assert [arm["energy_j"] for arm in report["arms"]] == [None, None] and report["warmup_runs"] == 1


def changes_of(folder: Path) -> dict[Path, int]:
    """Every file of a folder, with the time of its last change."""
    return {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}
