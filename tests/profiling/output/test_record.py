"""A report written to a file and read back: the same to the last bit, or one clear sentence."""

from __future__ import annotations

import gzip
import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageChops

from profiling import Report, compare
from profiling.output.record import read_record, write_record
from skipcore import Dense, InputError, Vlm
from skipcore.methods import DyMU, FastV


def assert_same(one: Any, other: Any, where: str = "report") -> None:
    if ".settings." in where and isinstance(one, tuple):  # JSON values by contract, and JSON has no tuples
        one = list(one)
    assert type(one) is type(other), where
    if is_dataclass(one):
        for field in fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name), f"{where}.{field.name}")
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(one.nan_to_num(-1), other.nan_to_num(-1)), where
        assert torch.equal(one.isnan(), other.isnan()), where
    elif isinstance(one, Image.Image):
        assert ImageChops.difference(one, other).getbbox() is None, where
    elif isinstance(one, dict):
        assert list(one) == list(other), where
        for name in one:
            assert_same(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, tuple):
        assert len(one) == len(other), where
        for number, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{where}[{number}]")
    else:
        assert one == other, where


@pytest.mark.parametrize("name", ["own", "fastv", "dymu"])
def test_a_report_comes_back_as_it_was(tiny: Vlm, picture: Image.Image, tmp_path: Path, name: str) -> None:
    method = {"own": tiny.skipping, "fastv": FastV(0.5), "dymu": DyMU()}[name]
    report = compare(tiny, picture, "What is it?", [Dense(), method], max_new_tokens=3, repeats=2)
    write_record(report, tmp_path / "a.json.gz")
    again = read_record(Report, tmp_path / "a.json.gz")
    assert_same(report, again)
    assert json.dumps(again.to_dict()) == json.dumps(report.to_dict())
    write_record(again, tmp_path / "b.json.gz")
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"words",
        gzip.compress(b"words", mtime=0),
        gzip.compress(b"[]", mtime=0),
        gzip.compress(json.dumps({"arms": 1}).encode(), mtime=0),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.json.gz").write_bytes(content)
    with pytest.raises(InputError, match="holds no record that can be read"):
        read_record(Report, tmp_path / "bad.json.gz")
    with pytest.raises(InputError, match="record it again"):
        read_record(Report, tmp_path / "none.json.gz")
