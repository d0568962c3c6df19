"""What has been answered already, kept in a file, so that a killed evaluation goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skipcore.builtin.evaluation.asked import AskedPicture
from skipcore.builtin.evaluation.scores import Tally
from skipcore.json_lines import JsonLines
from skipcore.methods import Method
from skipcore.model.vlm import Vlm
from skipcore.provenance import modules_sha256


class Finished:
    """Tallies by key; with a file, a line of JSON for each.

    Raises:
        InputError: the file cannot be read.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = JsonLines(file)
        self._tallies = {line["key"]: Tally.from_dict(line["tally"]) for line in self._file.lines}

    def get(self, key: str) -> Tally | None:
        """The tally kept under a key; None where there is none."""
        return self._tallies.get(key)

    def add(self, key: str, tally: Tally, **more: Any) -> None:
        """Keep a tally; `more` is for those who read the file.

        Raises:
            InputError: the file cannot be written.
        """
        self._tallies[key] = tally
        self._file.add({"key": key, **more, "tally": tally.to_dict()})


def chunk_key(vlm: Vlm, model_sha256: str, chunk: Sequence[AskedPicture], token_ids: list[int], limit: int) -> str:
    """What fixes the answers to a chunk, but for the method: model, device, questions, and how they are put.

    Args:
        token_ids: the first question as the model reads it.
        limit: tokens that an answer may take.
    """
    questions = [
        (question.kind, question.text, question.answer, picture.is_exact)
        for picture in chunk
        for question in picture.questions
    ]
    first = chunk[0].draw()
    drawn = hashlib.sha256(first.tobytes()).hexdigest()
    where = (vlm.device.type, str(vlm.model.dtype))
    return _sha256([model_sha256, where, limit, token_ids, first.size, drawn, questions])


def method_key(chunk: str, method: Method) -> str:
    """What fixes one method's answers to a chunk."""
    summary = modules_sha256(method.execution.summary) if method.execution.summary is not None else None
    return _sha256([chunk, method.name, method.settings(), summary])


def _sha256(values: list) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
