"""The arrows of the house: app → profiling → skipcore, read off the imports."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "skipcore": {"app", "profiling", "gradio", "plotly", "pynvml", "spaces"},
    "profiling": {"app", "gradio", "plotly", "spaces"},
    "app": set(),
}


def imported(file: Path) -> set[str]:
    """Top-level names of everything a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("room", FORBIDDEN)
def test_no_import_against_the_arrows(room: str) -> None:
    files = list((ROOT / room).rglob("*.py"))
    assert files
    against = {str(file): sorted(found) for file in files if (found := imported(file) & FORBIDDEN[room])}
    assert against == {}


def test_only_training_needs_its_data() -> None:
    """easy-vqa and accelerate are of training and evaluation only."""
    users = {
        file.relative_to(ROOT).parts[:2]
        for room in FORBIDDEN
        for file in (ROOT / room).rglob("*.py")
        if imported(file) & {"easy_vqa", "accelerate"}
    }
    assert users <= {("skipcore", "builtin")}


def test_only_its_adapter_needs_lmms_eval() -> None:
    users = [file for room in FORBIDDEN for file in (ROOT / room).rglob("*.py") if "lmms_eval" in imported(file)]
    assert users == [ROOT / "profiling" / "lmms_eval_model.py"]


@pytest.mark.parametrize("room", ["skipcore", "profiling"])
def test_no_circle_of_imports(room: str) -> None:
    """Of imports for type hints and inside functions, too."""
    modules = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in (ROOT / room).rglob("*.py")}
    modules = {name.removesuffix(".__init__"): file for name, file in modules.items()}
    imports = {}
    for name, file in modules.items():
        found = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
        named = {(f"{node.module}.{alias.name}", node.module) for node in found for alias in node.names}
        imports[name] = {whole if whole in modules else module for whole, module in named} & set(modules) - {name}
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle
