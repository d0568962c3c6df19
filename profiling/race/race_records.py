"""What a race has measured: JSON lines, one file a process, read together and gone on with after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from profiling.race.processes import Process
from skipcore import InputError
from skipcore.json_lines import JsonLines, Line, check_same, read_lines

HEADER = "sweep"
"""Kind of a record's first line, as it was called when the first records were written."""

IDENTITY = ("model", "model_sha256", "dtype", "max_new_tokens")
"""What of the header must be the same for records to go together."""


def file_of(output: Path, process: Process) -> Path:
    """The main process's file is `output` itself: "race.jsonl", "race.process-1.jsonl", …"""
    return output if process.is_main else output.with_name(f"{output.stem}.process-{process.index}{output.suffix}")


def files_beside(output: Path) -> list[Path]:
    """`output` and the files of further processes, those that are there."""
    others = sorted(output.parent.glob(f"{output.stem}.process-*{output.suffix}"))
    return [file for file in (output, *others) if file.is_file()]


def all_lines(output: Path) -> list[Line]:
    """The lines of all processes' files, the header first.

    Raises:
        InputError: there is no record, a file is none of a race, or they are of several races.
    """
    lines: list[Line] = []
    for file in files_beside(output):
        found = read_lines(file)
        if found:
            check_same(found[0], lines[0] if lines else found[0] | {"kind": HEADER}, ("kind", *IDENTITY), file)
        lines += found
    if not lines:
        raise InputError(
            f"There is no record of answers {output}: `python -m profiling race --output {output}` writes one."
        )
    return lines


class Records:
    """All that the processes of a race have measured so far, and this process's file to add to.

    Args:
        output: the main process's file.
        process: this one.
        header: of this race; see `IDENTITY`.

    Raises:
        InputError: a file is of another model, cannot be read, or cannot be written.
    """

    def __init__(self, output: Path, process: Process, header: Line) -> None:
        header = {"kind": HEADER, **header}
        own = file_of(output, process)
        self.lines: list[Line] = []
        for file in files_beside(output):
            if file != own and (found := read_lines(file)):
                check_same(found[0], header, ("kind", *IDENTITY), file)
                self.lines += found
        self._own = JsonLines(own, header, ("kind", *IDENTITY))
        self.lines += self._own.lines

    def add(self, kind: str, **values: Any) -> None:
        """Write one line."""
        line = {"kind": kind, **values}
        self.lines.append(line)
        self._own.add(line)

    def of(self, kind: str) -> list[Line]:
        """All lines of a kind."""
        return [line for line in self.lines if line["kind"] == kind]
