"""A report as CSV, trace and HTML: what is in them, and that nothing in them is markup or a formula."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from itertools import pairwise

import pytest

from profiling import Report, compare
from profiling.output.exports import chrome_trace, csv_text, json_text
from profiling.output.html_report import html_report
from profiling.report import Spread
from skipcore import Dense, SkipVision


@pytest.fixture(scope="module")
def report(tiny, picture) -> Report:
    methods = [Dense(), SkipVision(16, 16)]
    return compare(tiny, picture, "<script>?</script>", methods, max_new_tokens=4, repeats=2, fixed_length=True)


def test_json(report: Report) -> None:
    assert json.loads(json_text(report)) == json.loads(json.dumps(report.to_dict()))


def test_csv_has_a_row_an_arm(report: Report) -> None:
    rows = list(csv.DictReader(StringIO(csv_text(report))))
    assert [row["arm"] for row in rows] == [arm.name for arm in report.arms]
    for row, arm in zip(rows, report.arms, strict=True):
        assert float(row["prefill_ms"]) == arm.prefill_ms and float(row["tpot_p90_ms"]) == arm.spread["tpot_ms"].p90
        assert int(row["kv_bytes"]) == arm.kv_bytes and row["energy_j"] == ""
        for phase in ("vision", "prefill", "ttft", "tpot"):
            spread = arm.spread[f"{phase}_ms"]
            assert int(row[f"{phase}_runs"]) == spread.runs
            assert float(row[f"{phase}_ms"]) == pytest.approx(spread.p50)


def test_every_file_says_how_often_the_tower_was_timed(report: Report) -> None:
    """It is timed less often than the arms where it is dear."""
    spread = {"vision_ms": Spread.of([4.0])}
    told = replace(report, arms=tuple(replace(arm, spread=arm.spread | spread) for arm in report.arms))
    events = json.loads(chrome_trace(told))["traceEvents"]
    assert {event["args"]["median of"] for event in events if event["name"] == "vision"} == {1}
    assert {row["vision_runs"] for row in csv.DictReader(StringIO(csv_text(told)))} == {"1"}
    assert all(arm["spread"]["vision_ms"]["runs"] == 1 for arm in json.loads(json_text(told))["arms"])


def test_one_run_is_no_plural(report: Report) -> None:
    one = html_report(replace(report, repeats=1, device=report.device | {"threads": 1}))
    assert "1 CPU thread)" in one and "1 timed run per arm" in one
    assert "2 timed runs per arm" in html_report(report)


@pytest.mark.parametrize("answer, cell", [("=1+1", "'=1+1"), ("@x", "'@x"), ("a=1", "a=1"), ("", "")])
def test_an_answer_is_no_formula(report: Report, answer: str, cell: str) -> None:
    told = replace(report, arms=tuple(replace(arm, answer=answer) for arm in report.arms))
    assert next(csv.DictReader(StringIO(csv_text(told))))["answer"] == cell


def test_the_trace_holds_every_step_of_every_run(report: Report) -> None:
    events = json.loads(chrome_trace(report))["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    assert len(slices) == 2 * 2 * (1 + 4)
    assert {event["args"]["name"] for event in events if event["name"] == "process_name"} == {
        arm.name for arm in report.arms
    }
    first = [event for event in slices if (event["pid"], event["tid"]) == (1, 2)]
    assert [event["name"] for event in first] == ["vision", "prefill", "decode 2", "decode 3", "decode 4"]
    assert [event["dur"] / 1000 for event in first[1:]] == pytest.approx(report.arms[0].run_token_ms[1])
    for one, other in pairwise(first):
        assert other["ts"] == pytest.approx(one["ts"] + one["dur"])


def test_html_needs_nothing_else_and_holds_all(report: Report) -> None:
    text = html_report(report)
    HTMLParser().feed(text)
    assert "<script" not in text and "&lt;script&gt;?" in text
    assert not re.search(r"(src|href)=\"(?!data:)", text) and "http://" not in text and "https://" not in text
    assert text.count("data:image/webp;base64,") == 1 and text.count("<polyline") == 2
    assert text.count("<rect") == 6 and f"{report.arms[1].kv_bytes:,} B" in text


def test_html_of_one_token_answers(tiny, picture) -> None:
    text = html_report(compare(tiny, picture, "?", [Dense()], max_new_tokens=1), pictures=[])
    assert "fewer than three tokens" in text and "data:image" not in text
