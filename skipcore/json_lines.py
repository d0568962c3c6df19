"""Records that outlive a kill: JSON lines in a file, added as they come and read again at the next start."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from skipcore.errors import InputError

Line = dict[str, Any]


def read_lines(file: Path) -> list[Line]:
    """The objects in a file's lines. A line that a kill left torn is passed over.

    Raises:
        InputError: the file cannot be read, or holds lines, but none of them is a JSON object.
    """
    return _read(file)[0]


def check_same(found: Mapping[str, Any], wanted: Mapping[str, Any], names: Collection[str], file: Path) -> None:
    """Whether two headers agree in some values.

    Raises:
        InputError: they do not; says in which.
    """
    for name in names:
        if found.get(name) != wanted.get(name):
            raise InputError(
                f"{file} was written for another {name.replace('_', ' ')}: {found.get(name)!r}, not "
                f"{wanted.get(name)!r}. Name another file, or delete it."
            )


class JsonLines:
    """The lines of a file, and what is added to them.

    Args:
        file: None keeps the lines in memory alone.
        header: first line of a new file; None: there is none.
        identity: names of the header's values in which a file that is there must agree.

    Attributes:
        lines: all of them, the header too.

    Raises:
        InputError: the file is of something else, or cannot be read or written.
    """

    def __init__(self, file: Path | None, header: Line | None = None, identity: Collection[str] = ()) -> None:
        self._file = file
        self.lines, self._torn_at = ([], None) if file is None or not file.is_file() else _read(file)
        if header is not None and self.lines and file is not None:
            check_same(self.lines[0], header, identity, file)
        elif header is not None:
            self.add(header)

    def add(self, line: Line) -> None:
        """Add a line, in place of one that a kill left torn.

        Raises:
            InputError: the file cannot be written.
        """
        self.lines.append(line)
        self._write([line], "ab")

    def keep(self, is_kept: Callable[[Line], bool]) -> None:
        """Remove all other lines, from the file too.

        Raises:
            InputError: the file cannot be written.
        """
        self.lines = [line for line in self.lines if is_kept(line)]
        self._write(self.lines, "wb")

    def _write(self, lines: Sequence[Line], mode: str) -> None:
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open(mode) as file:
                if self._torn_at is not None:
                    file.truncate(self._torn_at)
                    self._torn_at = None
                file.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
        except OSError as error:
            raise InputError(
                f"{self._file} could not be written ({error.strerror}). Free some space, or name another file, and run "
                "again: what is in that file is not done again."
            ) from error


def _read(file: Path) -> tuple[list[Line], int | None]:
    """The objects in a file's whole lines, and the byte at which a torn line begins."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): name another file.") from error
    *whole, torn = content.split(b"\n")
    lines = [line for line in map(_object_in, whole) if line is not None]
    if not lines and any(not line.startswith(b"{") for line in [*whole, torn] if line):
        raise InputError(f"{file} is no file of JSON lines: name another file.")
    return lines, len(content) - len(torn) if torn else None


def _object_in(text: bytes) -> Line | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
