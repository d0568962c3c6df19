"""Wrong values for every setting of every method: each gets a sentence, and nothing else comes of it."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest

from skipcore import METHODS, InputError
from skipcore.methods import SPIDER, Combined, Dense, DyMU, FastV, Method, SkipVision, VisionZip

NOWHERE_RIGHT = [
    object(), 1j, "no such", b"\x01", math.nan, -1, -0.5, {"a": 1}, {1: 1}, lambda: 0, [[1]], [None], [math.nan],
    ["x"], np.array([[1, 2], [3, 4]]), np.array(0.5), np.full((40, 40), 0.5), Ellipsis, NotImplemented, type,
]  # fmt: skip
SETTINGS = [(name, field.name) for name, method in METHODS.items() for field in fields(method)]  # type: ignore[arg-type]


@pytest.mark.parametrize(("method", "setting"), SETTINGS)
def test_a_wrong_value_gets_a_sentence(method: str, setting: str) -> None:
    for value in NOWHERE_RIGHT:
        with pytest.raises(InputError) as told:
            METHODS[method](**{setting: value})
        sentence = str(told.value)
        assert "\n" not in sentence and sentence.endswith(".") and len(sentence) < 300, sentence


SUMS = {
    "a count beyond bounds": lambda: SkipVision(num_retained=2**70),
    "whole numbers for a share": lambda: FastV(num_kept=1.5),
    "True for a count": lambda: VisionZip(num_dominant=True),
    "one of two": lambda: SPIDER(ffn_kl=(0.1,)),
    "of other lengths": lambda: SPIDER(ffn_kl=(0.1,), attention_kl=(0.1, 0.2)),
    "texts": lambda: SPIDER(ffn_kl="ab", attention_kl="cd"),  # type: ignore[arg-type]
    "complex thresholds": lambda: DyMU(thresholds=[0.5, 1j]),  # type: ignore[list-item]
    "not a method": lambda: Combined("FastV", SkipVision()),  # type: ignore[arg-type]
    "not Skip-Vision": lambda: Combined(FastV(), Dense()),  # type: ignore[arg-type]
    "a class": lambda: Combined(FastV, SkipVision()),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", SUMS)
def test_values_that_do_not_go_together(name: str) -> None:
    with pytest.raises(InputError):
        SUMS[name]()


@pytest.mark.parametrize("name", METHODS)
def test_numbers_of_numpy_are_plain_ones(name: str) -> None:
    """A method's settings can be hashed, shown and written as JSON, whatever list or number they came as."""
    plain = METHODS[name]()
    for field in fields(plain):  # type: ignore[arg-type]
        value = getattr(plain, field.name)
        if isinstance(value, tuple):
            value = [np.asarray(each)[()] for each in value]
        elif isinstance(value, float):
            value = np.float64(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            value = np.int64(value)
        method: Method = METHODS[name](**{field.name: value})
        assert method == plain and hash(method) == hash(plain) and method.label == plain.label


def test_a_label_spells_large_counts_out() -> None:
    assert SkipVision(9999, 12345).label == "Skip-Vision 9999+12345"
