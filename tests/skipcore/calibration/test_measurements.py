"""The record of measurements: it goes on where it was cut off, and never tells of anything else."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
from shared_models import noise_picture
from tiny_families import tiny_model

from skipcore import InputError
from skipcore.answering.agreement import DenseAnswer, answer_densely
from skipcore.calibration.measurements import Measured, Measurements, fingerprint
from skipcore.methods import Dense, DivPrune, VisionZip

PICTURES = [noise_picture(1), noise_picture(2)]


@pytest.fixture(scope="module")
def asked() -> list[DenseAnswer]:
    return [answer_densely(tiny_model("LLaVA"), picture, "What?", 2, VisionZip()) for picture in PICTURES]


def test_a_record_goes_on_from_every_byte(tmp_path: Path, asked: list[DenseAnswer]) -> None:
    """What is known is what was written whole, and what is written then is the whole record."""
    file, of = tmp_path / "record.jsonl", fingerprint("tiny", asked)
    measured = {share: Measured(share, 0.5, 0.1, 1.0) for share in (0.25, 0.5)}
    record = Measurements(file, of)
    for share, each in measured.items():
        record.add(DivPrune(share), each)
    whole = file.read_bytes()
    for length in range(len(whole) + 1):
        file.write_bytes(whole[:length])
        again = Measurements(file, of)
        known = {share: again.get(DivPrune(share)) for share in measured}
        assert sum(map(bool, known.values())) == max(0, whole[:length].count(b"\n") - 1)
        for share, each in measured.items():
            assert known[share] in (None, each)
            if known[share] is None:
                again.add(DivPrune(share), each)
        assert file.read_bytes() == whole


@pytest.mark.parametrize("changed", ["name", "weights", "dtype", "length", "question", "order"])
def test_a_record_of_anything_else_is_refused_and_left_alone(
    tmp_path: Path, asked: list[DenseAnswer], changed: str
) -> None:
    """Also where the vision tower, and with it every feature, is the same."""
    file = tmp_path / "record.jsonl"
    Measurements(file, fingerprint("tiny", asked)).add(Dense(), Measured(1.0, 1.0, 0.0, 1.0))
    before = file.read_bytes()
    vlm, tokens, question = tiny_model("LLaVA"), 2, "What?"
    if changed in ("weights", "dtype"):
        vlm = replace(vlm, model=copy.deepcopy(vlm.model))
        vlm.model.get_decoder().layers[1].mlp.down_proj.weight.mul_(1.01)
    if changed == "dtype":
        vlm.model.bfloat16()
    pictures = PICTURES[::-1] if changed == "order" else PICTURES
    tokens, question = (1 if changed == "length" else 2), ("Whar?" if changed == "question" else "What?")
    other = [answer_densely(vlm, picture, question, tokens, VisionZip()) for picture in pictures]
    with pytest.raises(InputError, match="another model or set of questions"):
        Measurements(file, fingerprint("other" if changed == "name" else "tiny", other))
    assert file.read_bytes() == before


@pytest.mark.parametrize("line", ["{}", '{"method": "a", "flops": NaN, "kv": 1, "kl": 0, "top1": 1}'])
def test_a_damaged_record_is_refused_and_left_alone(tmp_path: Path, asked: list[DenseAnswer], line: str) -> None:
    file, of = tmp_path / "record.jsonl", fingerprint("tiny", asked)
    for text in (
        "somebody's notes",
        "somebody's notes\n",
        json.dumps({"model_or_set_of_questions": of}) + f"\n{line}\n",
    ):
        file.write_text(text)
        with pytest.raises(InputError, match="name another file"):
            Measurements(file, of)
        assert file.read_text() == text
