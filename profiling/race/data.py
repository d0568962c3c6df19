"""What the race asks: named data sets with true answers, or a folder of pictures and questions without."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from skipcore import InputError
from skipcore.builtin.evaluation.asked import AskedPicture, asked_pictures
from skipcore.builtin.evaluation.blind import blind_tally, guesser_for
from skipcore.builtin.questions.questions import Question
from skipcore.builtin.scenes.sample import EVERYTHING
from skipcore.builtin.scenes.world_file import World
from skipcore.model.inputs import open_picture

SPLITS = {
    "scenes-test": "test",
    "scenes-combinations": "combinations",
    "scenes-style": "style",
    "scenes-validation": "validation",
    "easy-vqa-test": "easy-vqa",
}
"""Names of data sets with true answers, and the split of `skipcore.builtin.evaluation` that each is."""
QUESTIONS_FILE = "questions.jsonl"
"""In a folder of pictures: a line {"picture": "cat.jpg", "question": "What is it?"} for each question."""


@dataclass(frozen=True, eq=False)
class DataSet:
    """Pictures with their questions.

    Attributes:
        name: of the data set, or the folder's.
        pictures: each with its questions; where there is no truth their answers are empty.
        has_truth: whether answers can be right or wrong.
        blind: share of right answers of a guesser who does not look; None where there is no truth.
    """

    name: str
    pictures: tuple[AskedPicture, ...]
    has_truth: bool
    blind: float | None = None

    @property
    def num_questions(self) -> int:
        """In all."""
        return sum(len(each.questions) for each in self.pictures)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all questions and answers and of the first picture."""
        questions = [[(each.text, each.answer) for each in picture.questions] for picture in self.pictures]
        digest = hashlib.sha256(json.dumps(questions).encode())
        digest.update(self.pictures[0].draw().tobytes())
        return digest.hexdigest()


def load_data(name: str, num_questions: int | None = None, world: World | None = None) -> DataSet:
    """A data set by its name, or the one of a folder.

    Args:
        name: in `SPLITS`, or a folder of pictures with a `questions.jsonl`.
        num_questions: the first ones; None for all there are (scenes: 2,000).
        world: what scenes may hold; None for all they can show.

    Raises:
        InputError: there is no such data set or folder, or its file of questions cannot be read.
    """
    if name in SPLITS:
        split = SPLITS[name]
        pictures = asked_pictures(split, num_questions, world)
        contents = None if world is None else world.contents()
        blind = blind_tally(guesser_for(split, contents=contents or EVERYTHING), pictures)
        return DataSet(name, tuple(pictures), True, blind.accuracy)
    if not Path(name).is_dir():
        raise InputError(
            f"There is no data set {name!r}: take some of {', '.join(SPLITS)}, or a folder of pictures with a "
            f"{QUESTIONS_FILE}."
        )
    return _folder(Path(name), num_questions)


def _folder(folder: Path, num_questions: int | None) -> DataSet:
    file = folder / QUESTIONS_FILE
    asked: dict[str, list[Question]] = {}
    try:
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        for line in lines[:num_questions]:
            values = json.loads(line)
            question = Question("question", str(values["question"]), "", "question")
            asked.setdefault(str(values["picture"]), []).append(question)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f'{file} cannot be read as lines such as {{"picture": "cat.jpg", "question": "What is it?"}} ({error}).'
        ) from error
    if not asked:
        raise InputError(f"{file} holds no questions: write one line for each.")
    pictures = tuple(
        AskedPicture(partial(_open, folder / picture), tuple(questions)) for picture, questions in asked.items()
    )
    return DataSet(folder.resolve().name, pictures, has_truth=False)


def _open(file: Path) -> Image.Image:
    return open_picture(file)
