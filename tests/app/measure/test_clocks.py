"""What watches the page from outside: stopwatch, soak, and the cost of streaming."""

from __future__ import annotations

import io
import platform

import psutil
import pytest

from app.measure.served import Seen, served
from app.measure.soak import growth
from app.measure.stopwatch import Clocks, Times
from app.measure.streaming_cost import streaming_cost
from app.page import build_page
from app.runs.ask import READS, SEES
from app.server.spare_memory import hand_back_spare_memory
from profiling.events import NewText
from skipcore import Vlm

# Gradio 6.31 counts its events in ways that pandas 3 deprecates
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing")

MESSAGES = [
    Seen(10.0, "", ("", "")),
    Seen(10.1, "Reading the picture and the question…", ("", "")),
    Seen(10.2, SEES, ("", "")),
    Seen(10.5, READS, ("", "")),
    Seen(11.0, "Dense: timed run 1 of 1…", ("Dense –", "Skip –")),
    Seen(11.25, "", ("Dense a", "")),
    Seen(11.5, "Skip: timed run 1 of 1…", ("Dense a b", "Skip –")),
    Seen(11.6, "", ("", "Skip a")),
]


def test_a_client_times_vision_and_prefill() -> None:
    times = Times.seen(MESSAGES)
    assert times == Times(pytest.approx(300), pytest.approx(250)) and times.ttft == pytest.approx(550)


@pytest.mark.parametrize(
    "client, reported, share, difference, beyond",
    [
        ([110, 115, 140], [100, 100, 100], 5, 0.15, 0.1),
        ([110, 115, 140], [100, 100, 100], 20, 0.15, 0.0),
        ([90, 80, 95], [100, 100, 100], 4, -0.1, 0.06),
    ],
)
def test_clocks_are_compared(client, reported, share: float, difference: float, beyond: float) -> None:
    clocks = Clocks(tuple(Times(0, each) for each in client), tuple(Times(0, each) for each in reported))
    compared = clocks.compared("ttft", share)
    assert compared == clocks.compared("prefill", share) and compared["reported_ms"] == 100
    assert compared["difference"] == pytest.approx(difference)
    assert compared["beyond_the_share"] == pytest.approx(beyond)


@pytest.mark.parametrize("resident, share", [([100, 90], 0.0), ([100, 104, 102], 0.04), ([200, 190, 250], 0.25)])
def test_growth_is_that_of_the_largest_after_the_warm_up(resident: list[int], share: float) -> None:
    assert growth(resident) == pytest.approx(share)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can hand memory back")
def test_spare_memory_is_handed_back() -> None:
    pieces = [bytearray(b"x") * 50_000 for _ in range(1000)]
    del pieces[:-1]  # the last one keeps the heap from shrinking by itself
    before = psutil.Process().memory_info().rss
    assert hand_back_spare_memory()
    assert psutil.Process().memory_info().rss < before - 20_000_000


def test_two_tokens_are_one_text() -> None:
    both = NewText(1, "a", 1, 20.0, None) + NewText(1, " b", 2, 20.0, 3.0)
    assert both == NewText(1, "a b", 2, 20.0, 3.0)


def test_a_client_of_its_own_process_sees_a_run_and_the_page_keeps_its_report(tiny: Vlm, picture) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    with served(build_page(tiny)) as site:
        messages, report = site.ask(buffer.getvalue(), "what?", longest_answer_in_tokens=3, timed_runs_of_each=1)
    times = Times.seen(messages)
    assert times.vision > 0 < times.prefill and messages[-1].answers[0].count(report.arms[0].answer)


def test_the_cost_of_streaming_is_told_by_arm(tiny: Vlm) -> None:
    ends = tiny.model.generation_config.eos_token_id
    record = streaming_cost(tiny, rounds=2, new_tokens=4)
    assert list(record["tpot_ratio"]) == ["Dense", tiny.skipping.label] and record["new_tokens"] == 4
    for arm in record["tpot_ratio"].values():
        assert arm["rounds"] == 2 and arm["low"] <= arm["median"] <= arm["high"]
        assert arm["served_ms"] > 0 < arm["alone_ms"]
    assert tiny.model.generation_config.eos_token_id == ends
