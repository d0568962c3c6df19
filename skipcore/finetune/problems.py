"""What is wrong with the rows of a data set, found before training begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from skipcore.errors import InputError
from skipcore.finetune.collate import Collator
from skipcore.finetune.rows import Row, Rows
from skipcore.model.inputs import open_picture, picture_size

SHOWN = 20
"""Problems that are listed one by one."""


@dataclass(frozen=True)
class Problem:
    """A row that cannot be learned from.

    Attributes:
        index: in the rows that were checked, from 0.
        number: of the row in its data set, from 1; the line of a .jsonl file without empty lines.
        what: a sentence.
    """

    index: int
    number: int
    what: str

    def __str__(self) -> str:
        return f"Row {self.number:,}: {self.what}"


def find_problems(
    rows: Rows, collator: Collator, read_pictures: bool = True, progress: Callable[[int], None] = lambda done: None
) -> list[Problem]:
    """Check every row: its form, its placeholders, its answers, its pictures and its length.

    Args:
        collator: that will make batches of them; its `max_length` is the longest that a row may be.
        read_pictures: whether pictures are read whole; else only whether their files are there and what size they say.
        progress: called with the number of rows checked.
    """
    problems = []
    check = partial(_problem, rows, collator, read_pictures)
    with ThreadPoolExecutor() as pool:  # reading pictures leaves other threads room to run
        for index, what in enumerate(pool.map(check, range(len(rows)))):
            if what is not None:
                problems.append(Problem(index, rows.numbers[index] + 1, what))
            progress(index + 1)
    return problems


def without(rows: Rows, problems: Iterable[Problem]) -> Rows:
    """The rows that have no problem.

    Raises:
        InputError: none is left.
    """
    bad = {problem.index for problem in problems}
    if len(bad) == len(rows):
        raise InputError(f"Every row of {rows.name} has a problem; the first: {min(problems, key=lambda p: p.index)}")
    return rows.only([index for index in range(len(rows)) if index not in bad])


def listed(problems: list[Problem]) -> str:
    """The first problems, a line each, and how many more there are."""
    more = [f"… and {len(problems) - SHOWN:,} more rows."] if len(problems) > SHOWN else []
    return "\n".join([*map(str, problems[:SHOWN]), *more])


def _problem(rows: Rows, collator: Collator, read_pictures: bool, index: int) -> str | None:
    try:
        row: Row = rows[index]
        answers = row.answers
        if not answers:
            return "It has no answer: no message is the assistant's."
        if not all(answer.strip() for answer in answers):
            return "An answer is empty."
        length = collator.length(row, [_size(image, read_pictures) for image in row.images])
    except InputError as error:
        return str(error)
    if collator.max_length is not None and length > collator.max_length:
        return f"It takes {length:,} tokens, more than {collator.max_length:,}."
    return None


def _size(image: object, read_whole: bool) -> tuple[int, int]:
    if isinstance(image, Path) and not image.is_file():
        raise InputError(f"There is no picture {str(image)!r}.")
    if read_whole or not isinstance(image, str | Path | bytes):
        return open_picture(image).size  # type: ignore[arg-type]
    return picture_size(image)
