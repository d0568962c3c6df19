"""What a sweep has measured: JSON lines, one file a process, read together and gone on with after a kill."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from profiling.race.processes import Process
from skipcore import InputError

Line = dict[str, Any]

IDENTITY = ("model", "model_sha256", "dtype", "max_new_tokens")
"""What of the header must be the same for records to go together."""


def file_of(output: Path, process: Process) -> Path:
    """The main process's file is `output` itself: "race.jsonl", "race.process-1.jsonl", …"""
    return output if process.is_main else output.with_name(f"{output.stem}.process-{process.index}{output.suffix}")


def files_beside(output: Path) -> list[Path]:
    """`output` and the files of further processes, those that are there."""
    others = sorted(output.parent.glob(f"{output.stem}.process-*{output.suffix}"))
    return [file for file in (output, *others) if file.is_file()]


def read_lines(file: Path) -> list[Line]:
    """The lines of one file. A line that a kill left torn is passed over.

    Raises:
        InputError: the file cannot be read, or is no record of a sweep.
    """
    try:
        lines = list(_parsed(file.read_text(encoding="utf-8", errors="replace")))
    except OSError as error:
        raise InputError(f"The record {file} cannot be read ({error.strerror}): name another one.") from error
    if lines and lines[0].get("kind") != "sweep":
        raise InputError(f"{file} is no record of `python -m profiling sweep`: name another file.")
    return lines


def _parsed(text: str) -> Iterator[Line]:
    for line in text.splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict):
            yield values


class Records:
    """All that the processes of a sweep have measured so far, and this process's file to add to.

    Args:
        output: the main process's file.
        process: this one.
        header: of this sweep; see `IDENTITY`.

    Raises:
        InputError: a file is of another model, cannot be read, or cannot be written.
    """

    def __init__(self, output: Path, process: Process, header: Line) -> None:
        self.lines: list[Line] = []
        for file in files_beside(output):
            found = read_lines(file)
            for line in found[:1]:
                check_same(line, header, file)
            self.lines += found
        self._file = file_of(output, process)
        self._is_torn = self._file.is_file() and not self._file.read_bytes().endswith(b"\n")
        if not self._file.is_file() or not read_lines(self._file):
            self._is_torn = False
            self._write({"kind": "sweep", **header}, "w")

    def add(self, kind: str, **values: Any) -> None:
        """Write one line."""
        self._write({"kind": kind, **values}, "a")

    def _write(self, line: Line, mode: str) -> None:
        self.lines.append(line)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open(mode, encoding="utf-8") as file:
                file.write(("\n" if self._is_torn else "") + json.dumps(line, ensure_ascii=False) + "\n")
        except OSError as error:
            raise InputError(
                f"{self._file} could not be written ({error.strerror}). Free some space, or name another output, and "
                "run again: what is in that file is not measured again."
            ) from error
        self._is_torn = False

    def of(self, kind: str) -> list[Line]:
        """All lines of a kind."""
        return [line for line in self.lines if line["kind"] == kind]


def check_same(found: Line, wanted: Line, file: Path) -> None:
    """Whether records go together.

    Raises:
        InputError: they do not.
    """
    for name in IDENTITY:
        if found.get(name) != wanted.get(name):
            raise InputError(
                f"{file} is the record of another sweep: its {name.replace('_', ' ')} is {found.get(name)!r}, not "
                f"{wanted.get(name)!r}. Name another output, or delete it."
            )
