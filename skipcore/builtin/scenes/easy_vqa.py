"""easy-VQA (the `easy-vqa` package on PyPI, MIT): 64 x 64 pictures of one shape, with questions and one-word answers.

Its own split is kept: 4,000 pictures to train on, 1,000 to test on.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Literal

import numpy as np
from PIL import Image

from skipcore.errors import InputError

Split = Literal["train", "test"]


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture, uint8 [64, 64, 3], and its questions with their answers."""

    pixels: np.ndarray
    questions: tuple[tuple[str, str], ...]


@cache
def load_split(split: Split) -> tuple[Picture, ...]:
    """The pictures of one split in the order of their numbers.

    Raises:
        InputError: the package `easy-vqa` is not installed.
    """
    package = _package()
    questions: dict[int, list[tuple[str, str]]] = defaultdict(list)
    columns = package.get_train_questions() if split == "train" else package.get_test_questions()
    for question, answer, number in zip(*columns, strict=True):
        questions[number].append((question, answer))
    paths = package.get_train_image_paths() if split == "train" else package.get_test_image_paths()
    pictures = []
    for number in sorted(paths):
        with Image.open(paths[number]) as image:
            pictures.append(Picture(np.array(image.convert("RGB")), tuple(questions[number])))
    return tuple(pictures)


def _package() -> ModuleType:
    """The package, which only training and evaluation need."""
    try:
        import easy_vqa
    except ImportError as error:
        raise InputError("easy-VQA needs another package. Install it: pip install 'easy-vqa>=1.0,<2'") from error
    return easy_vqa
