"""The race on the page: the record's figures and sentences, and only for the model they belong to."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from laid_out import visible_blocks

from app.charts.race import COMMAND, RaceData, data_of, race_chart, race_table, read_race, standings_table
from app.panels.quality import QualityPanel
from skipcore import InputError, Vlm
from skipcore.provenance import folder_sha256


def row(method: str, budget: float | None, flops: float, score: float, **more: Any) -> dict[str, Any]:
    return {
        "method": method,
        "label": f"{method} <{budget}>",
        "settings": {},
        "budget": budget,
        "flops": flops,
        "is_at_budget": True,
        "score": score,
        "low": score - 0.1,
        "high": score + 0.05,
        "kl": 0.1,
        "top1": 0.9,
        "same": 0.8,
        "ahead": None,
        "ahead_interval": None,
        "on_front": False,
        "cost": None,
    } | more


def cost(prefill_ratio: float, kv_bytes: float) -> dict[str, Any]:
    others = ("flops", "scoring_flops", "scoring_time", "vision_ms", "prefill_ms", "tpot_ms")
    return dict.fromkeys(others, 1.0) | {
        "prefill_range_ms": [1.0, 2.0],
        "prefill_ratio": prefill_ratio,
        "kv_bytes": kv_bytes,
        "peak_memory_bytes": None,
    }


CONTENT: dict[str, Any] = {
    "model": "hand-made",
    "model_sha256": "0" * 64,
    "device": {"name": "a device made up for tests"},
    "versions": {},
    "date": "2026-01-02",
    "skipping_source": "trained",
    "timing": None,
    "unavailable": {},
    "data": [
        {
            "name": "made",
            "asked": 40,
            "questions": 40,
            "pictures": 10,
            "has_truth": True,
            "blind": 0.2,
            "rows": [
                row("Dense", None, 1.0, 0.9),
                row("SkipVision", 0.25, 0.249, 0.7),
                row("FastV", 0.25, 0.3, 0.8, is_at_budget=False),
                row("SkipVision", 0.5, 0.5, 0.85),
                row("Gone", 0.5, 0.5, 0.6, ahead=-0.25, ahead_interval=0.1),
                row("Level", 0.5, 0.5, 0.86, ahead=0.01, ahead_interval=0.1),
            ],
        },
        {
            "name": "free",
            "asked": 4,
            "questions": 4,
            "pictures": 1,
            "has_truth": False,
            "blind": None,
            "rows": [row("Dense", None, 1.0, 1.0)],
        },
    ],
    "sentences": {"made": {"0.5": "Skip-Vision leads.", "0.25": "FastV is ahead of it."}, "free": {}},
}


@pytest.fixture
def race(tmp_path: Path) -> list[RaceData]:
    (tmp_path / "race.json").write_text(json.dumps(CONTENT))
    found = read_race(tmp_path / "race.json")
    assert found is not None
    return data_of(found)


def shown(vlm: Vlm, folder: Path) -> tuple[str, int]:
    with gr.Blocks() as page:
        QualityPanel(vlm, folder / "quality.json")
    blocks = visible_blocks(page)
    words = " ".join(block.value for block in blocks if isinstance(block, gr.HTML) and block.value)
    return words, sum(isinstance(block, gr.Plot) for block in blocks)


def test_the_chart_shows_every_row(race: list[RaceData]) -> None:
    curves = {curve.name: curve for curve in race_chart(race[0]).data}
    assert list(curves) == ["Dense", "Skip-Vision", "FastV", "Gone", "Level"]
    own = curves["Skip-Vision"]
    assert list(own.x) == pytest.approx([24.9, 50]) and list(own.y) == pytest.approx([70, 85])
    assert list(own.error_y.array) == pytest.approx([5, 5]) and list(own.error_y.arrayminus) == pytest.approx([10, 10])
    assert own.error_y.visible and not curves["FastV"].error_y.visible
    assert len({curve.marker.symbol for curve in curves.values()}) == 5
    lines = [race_chart(data).layout.shapes for data in race]
    assert lines[0][0].y0 == pytest.approx(20) and not lines[1]  # the blind guess


def test_the_table_says_the_same(race: list[RaceData]) -> None:
    table = race_table(race[0])
    assert table.index("Dense") < table.index("SkipVision &lt;0.5&gt;") < table.index("FastV &lt;0.25&gt;")
    assert "30.0% †" in table and "24.9%<" in table and "60.0% to 75.0%" in table
    assert "answers as the dense model" in race_table(race[1])


def test_who_is_ahead_or_behind_beyond_chance_is_told_by_budget(race: list[RaceData]) -> None:
    table = standings_table(race[0])
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in table.split("<tr>")[2:]]
    assert rows == [
        ["50%", "85.0%", "none", "Gone", "1"],
        ["25%", "70.0%", "none", "none", "0"],
    ]


def test_a_race_of_this_model_is_shown(scenes: Vlm, tmp_path: Path) -> None:
    (tmp_path / "race.json").write_text(
        json.dumps(CONTENT | {"model_sha256": folder_sha256(scenes.model.name_or_path)})
    )
    words, plots = shown(scenes, tmp_path)
    assert "FastV is ahead of it." in words and "a device made up for tests" in words and plots == 2


def test_a_race_of_another_model_is_not(tiny: Vlm, tmp_path: Path, race: list[RaceData]) -> None:
    words, plots = shown(tiny, tmp_path)
    assert "FastV" not in words and plots == 0
    assert read_race(tmp_path / "none.json") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"data": 3, "sentences": {}}'])
def test_a_record_that_cannot_be_read_gets_a_sentence(tiny: Vlm, tmp_path: Path, text: str) -> None:
    (tmp_path / "race.json").write_text(text)
    with pytest.raises(InputError, match="write it again"):
        read_race(tmp_path / "race.json")
    assert COMMAND in shown(tiny, tmp_path)[0]


def test_costs_of_a_record_become_shares_of_dense(tmp_path: Path) -> None:
    rows = [
        row("Dense", None, 1.0, 0.9, top1=1.0, cost=cost(1.0, 4000)),
        row("FastV", 0.5, 0.5, 0.8, top1=0.7, cost=cost(0.6, 1000)),
        row("VTW", 0.5, 0.5, 0.8),
    ]
    (tmp_path / "race.json").write_text(json.dumps(CONTENT | {"data": [CONTENT["data"][0] | {"rows": rows}]}))
    race = read_race(tmp_path / "race.json")
    assert race is not None
    data = data_of(race)[0]
    _, fastv, vtw = data.rows
    assert (fastv.top1, fastv.prefill_time, fastv.kv_bytes) == (0.7, 0.6, 0.25)
    assert vtw.prefill_time is None and vtw.kv_bytes is None
    curves = {curve.name: curve for curve in race_chart(data, "kv", "kl").data}
    assert list(curves["FastV"].x) == [25] and list(curves["FastV"].y) == [0.1] and "VTW" not in curves
    assert not race_chart(data, "kv", "kl").layout.shapes  # a blind guess has no KL
