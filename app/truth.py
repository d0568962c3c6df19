"""What is known to be true about a picture: questions with their answers, found by the picture's file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from app.server.uploads import uploaded_file
from skipcore import InputError
from skipcore.builtin.questions.questions import Question
from skipcore.provenance import file_sha256


@dataclass(frozen=True)
class Known:
    """A picture file that true answers are known for.

    Attributes:
        picture: SHA-256 of the file, in hexadecimal. Any other picture has another one, so nothing has to be reset
            when the visitor chooses one.
        questions: what is known about it.
        scene: the number of the scene that it shows; None for another picture.
    """

    picture: str
    questions: tuple[Question, ...]
    scene: int | None = None


def truth_of(picture: Any, question: Any, known: Iterable[Known | None]) -> Question | None:
    """The known question that a visitor asks about a picture, or None.

    Args:
        picture: the uploaded file as the browser sends it.
        question: as typed; capitals, spaces and final marks do not matter.
        known: pictures that something is known about; None stands for none.
    """
    digest = digest_of_upload(picture)
    if digest is None or not isinstance(question, str):
        return None
    asked = _plain(question)
    about = (each for of in known if of is not None and of.picture == digest for each in of.questions)
    return next((each for each in about if _plain(each.text) == asked), None)


def digest_of_upload(picture: Any) -> str | None:
    """SHA-256 of an uploaded file; None where there is none that can be read."""
    try:
        return file_sha256(uploaded_file(picture))
    except (InputError, OSError):
        return None


def _plain(question: str) -> str:
    return " ".join(question.lower().split()).rstrip(" ?.!")
