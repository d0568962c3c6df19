"""The finished example of a first visit: of this very model, small, and of the example that the page opens with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest

from app.examples import load_examples, offered
from app.page import build_page
from app.runs.recorded import RECORDED, Recorded, record, recorded_for
from app.world import world_of
from profiling.output.record import read_record, write_record
from skipcore import InputError, Vlm


def test_the_built_in_model_has_one(scenes: Vlm) -> None:
    report = recorded_for(scenes)
    assert report is not None and RECORDED.stat().st_size <= 300_000
    assert report.question == offered(load_examples(), world_of(scenes))[0].question
    assert report.device["name"] and report.versions["torch"] and report.repeats >= 5
    assert [arm.name for arm in report.arms] == ["Dense", scenes.skipping.label]


def test_it_is_of_no_other_model(scenes: Vlm, tiny: Vlm, tmp_path: Path) -> None:
    other = replace(read_record(Recorded, RECORDED), model_sha256="0" * 64)
    write_record(other, tmp_path / "other.json.gz")
    assert recorded_for(scenes, tmp_path / "other.json.gz") is None
    assert recorded_for(scenes, tmp_path / "none.json.gz") is None
    assert recorded_for(tiny) is None
    with pytest.raises(InputError, match=r"model\.safetensors"):
        record(tiny, tmp_path / "tiny.json.gz")


def test_a_page_without_one_waits_for_the_first_question(scenes: Vlm, tmp_path: Path) -> None:
    page = build_page(scenes, recorded=tmp_path / "none.json.gz")
    html = {block.elem_id: block.value for block in page.blocks.values() if isinstance(block, gr.HTML)}
    assert html["asked"] == "" and "Every visual token runs" in html["answer-0"]
    assert "What is saved appears here" in html["headline"]
