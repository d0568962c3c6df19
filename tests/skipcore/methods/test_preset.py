"""The default of an untrained model saves in every family, and is one and the same everywhere."""

from __future__ import annotations

import argparse

import pytest
from bench_families import LAYERS, costs, visual_share
from shared_models import noise_picture
from tiny_families import BUILDERS, tiny_model

from app.settings import Settings
from profiling import compare
from profiling.__main__ import _parser, _skip_method
from profiling.output.table import table_of
from skipcore import Dense
from skipcore.model.preset import PRESET, REASON


@pytest.mark.parametrize("family", BUILDERS)
def test_it_saves_half_of_the_visual_share_in_every_family(family: str) -> None:
    """Of FLOPs and of KV bytes: 40% wherever 80% of the prompt are visual tokens, as with any photograph."""
    vlm = tiny_model(family, LAYERS)
    assert vlm.skipping is PRESET and vlm.skipping_source == "preset" and vlm.skipping_reason == REASON
    share = visual_share(vlm)
    dense, own = costs(vlm, Dense()), costs(vlm, vlm.skipping)
    assert share > 0.5
    assert 1 - own[0] / dense[0] >= 0.5 * share
    # Gemma's window lets go of early keys in both
    assert 1 - own[1] / dense[1] >= (0.5 if family != "Gemma 3" else 0.2) * share


def test_it_is_the_same_for_page_api_command_line_and_compare() -> None:
    vlm = tiny_model("LLaVA", LAYERS)
    page = Settings(None, None, None, None, 8, 1).compared(vlm)
    options = _parser().parse_args(["compare", "--image", "x.png", "--question", "?"])
    assert isinstance(options, argparse.Namespace)
    report = compare(vlm, noise_picture(0), "?", max_new_tokens=2)
    assert page is _skip_method(options, vlm) is vlm.skipping
    assert report.arms[1].settings == PRESET.settings() and report.reason == REASON
    assert REASON in table_of(report) and report.to_dict()["reason"] == REASON
