"""A calibration as a file: what is read is right, and for this model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shared_models import noise_picture
from tiny_families import LAYERS, tiny_model

from skipcore import InputError, calibrate, load, load_calibration
from skipcore.methods import PyramidDrop
from skipcore.methods.as_json import method_to_json

PICTURES = [noise_picture(1), noise_picture(2)]


def test_a_calibration_is_saved_and_loaded(tmp_path: Path) -> None:
    found = calibrate(tiny_model("LLaVA"), PICTURES, "What?", 0.5, 0.8, rules=["VisionZip"], answer_tokens=3)
    found.save(tmp_path / "calibration.json")
    assert load_calibration(tmp_path / "calibration.json") == found
    with pytest.raises(InputError, match="cannot be written"):
        found.save(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"method": {"num_retained": -1}}', "{}", "[" * 100_000])
def test_a_damaged_calibration_is_refused_with_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(InputError, match="make it again"):
        load_calibration(tmp_path / "calibration.json")


FIGURES = {"flops": 0.5, "kv": 0.5, "kl": 0.0, "top1": 1.0}
CHOICE: dict[str, Any] = {"label": "", "layers": [], "attention_layers": [], **FIGURES}
SAVED: dict[str, Any] = {
    "model": "tiny",
    "method": method_to_json(PyramidDrop()),
    "target": 0.5,
    "kv_target": 0.6,
    "pictures": 1,
    "positions": 3,
    "choice": CHOICE | {"name": "calibrated"},
    "rivals": [CHOICE | {"name": "preset"}],
    **{name: [0.1] * (LAYERS + 1) for name in ("ffn_kl", "attention_kl", "ffn_update")},
}


@pytest.mark.parametrize(
    "change",
    [
        {"model": None},
        {"target": "half"},
        {"pictures": -1},
        {"rivals": []},
        {"choice": SAVED["choice"] | {"flops": "few"}},
        {"choice": SAVED["choice"] | {"kl": float("nan")}},
        {"choice": SAVED["choice"] | {"layers": ["a"]}},
        {"ffn_kl": "0.1"},
        {"ffn_kl": [0.1]},
        {"attention_kl": [float("inf")] * (LAYERS + 1)},
        {"method": None},
        {"method": {"name": "Best", "settings": {}}},
        {"method": {"name": "PyramidDrop", "settings": {"share": 1}}},
    ],
)
def test_a_calibration_with_a_damaged_value_is_refused_before_the_model_is_loaded(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    (tmp_path / "calibration.json").write_text(json.dumps(SAVED | change))
    with pytest.raises(InputError, match="make it again"):
        load("no/such-model", calibration=tmp_path / "calibration.json")


def test_a_calibration_of_another_model_is_refused_or_told(tmp_path: Path) -> None:
    (tmp_path / "calibration.json").write_text(json.dumps(SAVED))
    other, tiny = load_calibration(tmp_path / "calibration.json"), tiny_model("LLaVA")
    with pytest.raises(InputError, match=f"with {LAYERS + 1} layers, but this one .* has {LAYERS}"):
        replace(tiny, calibration=other)
    alike = replace(other, **dict.fromkeys(("ffn_kl", "attention_kl", "ffn_update"), (0.1,) * LAYERS))
    assert "for the model 'another'" in replace(tiny, calibration=replace(alike, model="another")).skipping_reason
    assert "for the model" not in replace(tiny, calibration=replace(alike, model=tiny.name)).skipping_reason
