"""The arrows of the house: app → profiling → skipcore, read off the imports."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Collection
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "skipcore": {"app", "profiling", "gradio", "plotly", "pynvml", "spaces"},
    "profiling": {"app", "gradio", "plotly", "spaces"},
    "app": set(),
}

MOST_MODULES = 17
LARGER_FOLDERS = {"skipcore/methods", "skipcore/engine", "app/panels"}
"""A method a file; of the other two a few modules too many are left."""
SAME_SUBJECT = {"ask.py", "follow.py", "method.py", "models.py", "settings.py"}
"""File names of a panel and of what it starts or shows; settings are those of a method, and of a visitor."""


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


def modules_of(room: str) -> dict[str, Path]:
    """Files by the names that imports give them."""
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in (ROOT / room).rglob("*.py")}
    return {name.removesuffix(".__init__"): file for name, file in names.items()}


def imported_modules(file: Path, modules: Collection[str]) -> set[str]:
    """Those of the modules that a file imports, for type hints and inside functions, too."""
    found = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
    named = {(f"{node.module}.{alias.name}", node.module) for node in found for alias in node.names}
    return {whole if whole in modules else module for whole, module in named} & set(modules)


@pytest.mark.parametrize("room", FORBIDDEN)
def test_no_circle_of_imports(room: str) -> None:
    modules = modules_of(room)
    imports = {name: imported_modules(file, modules) - {name} for name, file in modules.items()}
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


def test_the_library_needs_no_built_in_model() -> None:
    modules = modules_of("skipcore")
    built_in = {name for name in modules if name.startswith("skipcore.builtin")}
    assert {name for name in modules.keys() - built_in if imported_modules(modules[name], built_in)} == set()


def test_folders_can_be_taken_in_at_a_glance() -> None:
    sizes = Counter(
        file.parent.relative_to(ROOT).as_posix() for room in FORBIDDEN for file in (ROOT / room).rglob("*.py")
    )
    assert {folder for folder, size in sizes.items() if size > MOST_MODULES} <= LARGER_FOLDERS


def test_no_file_name_stands_for_two_ideas() -> None:
    """But for a panel and its chart of one subject, and what Python names."""
    folders: dict[str, list[str]] = defaultdict(list)
    for file in (file for room in FORBIDDEN for file in (ROOT / room).rglob("*.py") if not file.name.startswith("__")):
        folders[file.name].append(file.parent.relative_to(ROOT).as_posix())
    twice = {name for name, where in folders.items() if len(where) > 1 and set(where) != {"app/panels", "app/charts"}}
    assert twice <= SAME_SUBJECT
