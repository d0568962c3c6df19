"""The quality panel: the record's figures, as chart and as text, and only for the model they belong to."""

from __future__ import annotations

import hashlib
import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from laid_out import visible_blocks

from app import palette
from app.charts.quality import COMMAND, MARKERS, accuracy_by_flops, quality_table, read_quality, split_keys
from app.page import build_page
from app.panels.quality import QualityPanel, origin_sentence, why_not_shown
from skipcore import InputError, Vlm
from skipcore.builtin.evaluation.quality_record import Quality, SplitQuality
from skipcore.provenance import folder_sha256

RECORD = Path(__file__).parents[2] / "data" / "quality.json"
SHA256 = "0" * 64


@pytest.fixture
def quality() -> Quality:
    record = read_quality(RECORD)
    assert record is not None
    return record


def split_of(quality: Quality, number: int) -> SplitQuality:
    return list(quality.splits.values())[number]


def content() -> dict[str, Any]:
    return deepcopy(json.loads(RECORD.read_text()))


def words_on(page: gr.Blocks) -> str:
    return " ".join(block.value for block in visible_blocks(page) if isinstance(block, gr.HTML) and block.value)


def panel_of(vlm: Vlm, record: Path) -> gr.Blocks:
    with gr.Blocks() as page:
        QualityPanel(vlm, record)
    return page


def test_the_chart_shows_every_accuracy_over_its_flops(quality: Quality) -> None:
    figure = accuracy_by_flops(quality)
    curves = [part for part in figure.data if part.line.dash is None]
    assert [part.name for part in curves] == [
        "scenes, test", "scenes, new combinations", "scenes, new art style", "easy-VQA, test"
    ]  # fmt: skip
    assert list(curves[0].x) == pytest.approx([6, 13, 27, 100]) and list(curves[0].y) == pytest.approx([90, 94, 95, 96])
    assert list(curves[0].customdata[3]) == ["Dense", 4800, 5000]
    blind = [part for part in figure.data if part.line.dash == "dash"]
    assert [part.y[0] for part in blind] == pytest.approx([41, 40, 40.5, 67.1])
    assert [part.marker.symbol for part in blind] == [f"{symbol}-open" for symbol in MARKERS]
    low, high = figure.layout.yaxis.range
    assert all(low < value < high for part in figure.data for value in part.y)


def test_curves_differ_in_more_than_color(quality: Quality) -> None:
    curves = [part for part in accuracy_by_flops(quality).data if part.line.dash is None]
    assert len({part.marker.symbol for part in curves}) == 4
    assert {part.marker.color for part in curves} == set(palette.SPLITS)
    keys = split_keys(quality)
    assert all(f"split-{number}" in keys for number in range(4)) and "without looking" in keys


def test_the_table_says_the_same(quality: Quality) -> None:
    table = quality_table(split_of(quality, 0))
    head, first, *rest = re.findall(r"<tr>(.*?)</tr>", table.replace("\N{NO-BREAK SPACE}", " "))
    assert re.findall(r">([^<]+)</th>", head)[1:] == ["dense", "100 + 156", "36 + 100", "8 + 32", "blind guess"]
    assert re.findall(r"<td>(.*?)</td>", first) == ["96.0%", "95.0%", "94.0%", "90.0%", "41.0%"]
    assert len(rest) == 11 and "is it there?" in rest[0] and "94.8%" in rest[0]
    assert re.findall(r"<td>(.*?)</td>", rest[-1]) == ["100.0%", "27.0%", "13.0%", "6.0%", "–"]
    assert "5,000 questions about 1,000 pictures" in table
    assert "yes or no" in quality_table(split_of(quality, 3))


def test_what_was_not_counted_is_no_zero(tmp_path: Path) -> None:
    record = content()
    arm = record["splits"]["test"]["arms"][1]
    arm["flops_ratio"], arm["by_kind"]["sign"] = None, None
    (tmp_path / "q.json").write_text(json.dumps(record))
    quality = read_quality(tmp_path / "q.json")
    assert quality is not None
    assert "not available" in quality_table(split_of(quality, 0)) and "–" in quality_table(split_of(quality, 0))
    assert len(accuracy_by_flops(quality).data[1].x) == 3


def test_another_retain_rule_is_a_column_and_not_a_kink(tmp_path: Path) -> None:
    record = content()
    arms = record["splits"]["test"]["arms"]
    arms.append(arms[1] | {"name": "Skip-Vision 100+156, raster", "accuracy": 0.5})
    (tmp_path / "q.json").write_text(json.dumps(record))
    quality = read_quality(tmp_path / "q.json")
    assert quality is not None
    assert "Skip-Vision 100+156, raster" in quality_table(split_of(quality, 0))
    assert list(accuracy_by_flops(quality).data[1].y) == pytest.approx([90, 94, 95, 96])


def test_the_origin_is_told(quality: Quality) -> None:
    told = origin_sentence(quality)
    for part in ("a device made up for tests", "torch 2, transformers 5", "2026-01-02", SHA256[:12], COMMAND):
        assert part in told


def test_figures_of_another_model_are_not_shown(quality: Quality, tiny: Vlm) -> None:
    assert why_not_shown(quality, SHA256) == ""
    told = why_not_shown(quality, "1" * 64)
    assert "another model" in told and SHA256[:12] in told and COMMAND in told
    assert "another model" in why_not_shown(quality, None)
    page = panel_of(tiny, RECORD)
    assert "another model" in words_on(page) and "96.0%" not in words_on(page)
    assert not any(isinstance(block, gr.Plot) for block in visible_blocks(page))


def test_figures_of_this_model_are_shown(scenes: Vlm, tmp_path: Path) -> None:
    sha256 = folder_sha256(scenes.model.name_or_path)
    weights = Path(__file__).resolve().parents[3] / "assets" / "models" / "scenes" / "model.safetensors"
    assert sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    (tmp_path / "q.json").write_text(json.dumps(content() | {"model_sha256": sha256}))
    page = panel_of(scenes, tmp_path / "q.json")
    assert "96.0%" in words_on(page) and str(sha256)[:12] in words_on(page)
    assert sum(isinstance(block, gr.Plot) for block in page.blocks.values()) == 1


def test_without_a_record_the_page_says_how_to_make_one(tiny: Vlm, tmp_path: Path) -> None:
    assert read_quality(tmp_path / "none.json") is None
    page = build_page(tiny, tmp_path / "none.json")
    assert "Not measured yet" in words_on(page) and f"<code>{COMMAND}</code>" in words_on(page)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"splits": 3}'])
def test_a_record_that_cannot_be_read_gets_a_sentence(tiny: Vlm, tmp_path: Path, text: str) -> None:
    (tmp_path / "q.json").write_text(text)
    with pytest.raises(InputError, match="write it again"):
        read_quality(tmp_path / "q.json")
    assert "write it again" in words_on(panel_of(tiny, tmp_path / "q.json"))


def test_device_facts_of_a_report_are_read_too(tmp_path: Path) -> None:
    record = content() | {"device": {"name": "NVIDIA H200", "kind": "cuda", "dtype": "bfloat16"}}
    (tmp_path / "q.json").write_text(json.dumps(record))
    quality = read_quality(tmp_path / "q.json")
    assert quality is not None and "measured on NVIDIA H200, bfloat16 (" in origin_sentence(quality)
