"""Records that outlive a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from skipcore import InputError
from skipcore.json_lines import JsonLines, read_lines

HEADER = {"kind": "made", "model": "tiny", "date": "today"}


def opened(file: Path, **changes: str) -> JsonLines:
    return JsonLines(file, HEADER | changes, ("kind", "model"))


@pytest.mark.parametrize("cut", [1, 12, 46, 47, 48, 60])
def test_a_torn_line_gives_way_to_the_next(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "new" / "record.jsonl"
    opened(file).add({"text": "a line\u2028in one"})
    assert read_lines(file) == [HEADER, {"text": "a line\u2028in one"}]
    file.write_bytes(file.read_bytes()[:cut])
    lines = opened(file, date="tomorrow")
    before = list(lines.lines)
    lines.add({"text": "b"})
    assert read_lines(file) == [*before, {"text": "b"}] == opened(file).lines
    assert all(line.startswith("{") and line.endswith("}") for line in file.read_text().splitlines())


def test_lines_that_are_not_kept_leave_the_file(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "log.jsonl")
    for number in range(3):
        lines.add({"step": number})
    lines.keep(lambda line: line["step"] != 1)
    lines.add({"step": 3})
    assert [line["step"] for line in read_lines(tmp_path / "log.jsonl")] == [0, 2, 3]


def test_what_cannot_be_used_gets_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "record.jsonl"
    opened(file)
    with pytest.raises(InputError, match="another model: 'tiny', not 'other'"):
        opened(file, model="other")
    (tmp_path / "notes.txt").write_text("my notes\n")
    with pytest.raises(InputError, match="no file of JSON lines"):
        opened(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="cannot be read"):
        read_lines(tmp_path)
    with pytest.raises(InputError, match="Free some space"):
        JsonLines(file / "inside.jsonl").add({})


def test_without_a_file_they_are_in_memory() -> None:
    lines = JsonLines(None, HEADER)
    lines.add({"a": 1})
    assert lines.lines == [HEADER, {"a": 1}]
