"""The folder that is uploaded as a Space: `python -m app.server.space FOLDER`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import metadata_load

from app import ASSETS
from skipcore import InputError

ROOT = ASSETS.parent
NEEDED = ("README.md", "LICENSE", "requirements.txt", "app", "assets", "profiling", "skipcore")
MOST_BYTES = 100 * 10**6
"""A Space may be larger, but this one has no reason to be."""
COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
LONGEST_DESCRIPTION = 60
PYTHON = "3.12"


def write_space(folder: Path, root: Path = ROOT) -> list[Path]:
    """Copy what a Space needs, as it lies in the working tree, and check it; returns the files.

    Args:
        folder: where to; new or empty.

    Raises:
        InputError: the folder is not empty, this is no git repository, or the Space would not run; says what to mend.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not an empty folder: delete it, or name another one.")
    tracked = subprocess.run(["git", "ls-files", "-z", "--", *NEEDED], cwd=root, capture_output=True, text=True)
    names = [name for name in tracked.stdout.split("\0") if name]
    if not names:
        raise InputError(f"{root} is not a git repository with the project in it: run this from a clone.")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, folder / name)
    faults = space_faults(metadata_load(folder / "README.md") or {}, tested_gradio(root), set(names))
    size = sum((folder / name).stat().st_size for name in names)
    if size > MOST_BYTES:
        faults.append(f"it has {size / 10**6:.0f} MB, more than {MOST_BYTES // 10**6}: leave large files out")
    if faults:
        raise InputError(f"This would not run as a Space: {'; '.join(faults)}.")
    return [folder / name for name in names]


def tested_gradio(root: Path = ROOT) -> str:
    """The version of Gradio that the tests run on, from `constraints.txt`."""
    found = re.search(r"^gradio==(\S+)$", (root / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise InputError("constraints.txt names no version of gradio: add a line such as gradio==6.31.0.")
    return found[1]


def space_faults(front: Mapping[str, Any], gradio: str, files: set[str]) -> list[str]:
    """What keeps a front matter from being a Space's.

    Args:
        front: of README.md, see https://huggingface.co/docs/hub/spaces-config-reference.
        gradio: the version that `sdk_version` must name.
        files: names of the Space's files.
    """
    description = str(front.get("short_description", ""))
    rules = {
        "title is missing": bool(front.get("title")),
        "emoji is missing": bool(front.get("emoji")),
        "license is missing": bool(front.get("license")),
        "sdk must be gradio": front.get("sdk") == "gradio",
        f"sdk_version must be {gradio}, which the tests run on": front.get("sdk_version") == gradio,
        f'python_version must be "{PYTHON}", in quotes': front.get("python_version") == PYTHON,
        "app_file must be one of its files": front.get("app_file") in files,
        "requirements.txt is missing": "requirements.txt" in files,
        f"colorFrom and colorTo must be of {', '.join(COLORS)}": {front.get("colorFrom"), front.get("colorTo")}
        <= set(COLORS),
        f"short_description has {len(description)} characters, and must have 1 to {LONGEST_DESCRIPTION}": 0
        < len(description)
        <= LONGEST_DESCRIPTION,
    }
    return [fault for fault, is_kept in rules.items() if not is_kept]


def run(arguments: list[str]) -> int:
    """Write the folder and say how to upload it; returns the exit status (2 where it would not run)."""
    if len(arguments) != 1:
        print("usage: python -m app.server.space FOLDER", file=sys.stderr)
        return 2
    try:
        files = write_space(Path(arguments[0]))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    size = sum(file.stat().st_size for file in files)
    print(f"{arguments[0]}: {len(files)} files, {size / 10**6:.1f} MB. Upload it:")
    print(f"hf upload USER/SPACE {arguments[0]} . --repo-type space")
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
