"""The folder that is uploaded as a Space: `python -m app.server.space FOLDER`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from app import ASSETS
from skipcore import InputError

ROOT = ASSETS.parent
NEEDED = ("README.md", "LICENSE", "requirements.txt", "app", "assets", "profiling", "skipcore")
MOST_BYTES = 100 * 10**6
"""A Space may be larger, but this one has no reason to be."""


def write_space(folder: Path, root: Path = ROOT) -> list[Path]:
    """Copy what a Space needs, as it lies in the working tree; returns the files.

    Args:
        folder: where to; new or empty.

    Raises:
        InputError: the folder is not empty or becomes too large, or this is no git repository.
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
    size = sum((folder / name).stat().st_size for name in names)
    if size > MOST_BYTES:
        raise InputError(f"{folder} has {size / 10**6:.0f} MB, more than {MOST_BYTES // 10**6}: leave large files out.")
    return [folder / name for name in names]


def run(arguments: list[str]) -> int:
    """Write the folder and say how to upload it; returns the exit status (2 where it cannot be written)."""
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
