"""A run in a forked worker, as on ZeroGPU, is the same run."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import gradio as gr
import pytest
import torch
from fake_spaces import spaces
from hostile_pictures import PNG
from shared_models import noise_picture

from app.measure.over_http import Visitor
from app.page import build_page
from app.runs.offered_methods import OFFERED
from app.server import zero_gpu
from app.server.launch import start
from app.settings import Settings
from profiling import Report
from profiling.events import Encoding, NewText, Progress, Started, Traced
from skipcore import InputError, Vlm
from skipcore.methods.dymu import found_on

SETTINGS = Settings(0.2, 0.3, "uniform", False, 3, 2)


@pytest.fixture(autouse=True)
def nothing_lent() -> Iterator[None]:
    zero_gpu._workers.clear()
    yield
    zero_gpu._workers.clear()


def events(vlm: Vlm, question: str = "what is it?", settings: Settings = SETTINGS) -> list[Any]:
    return list(zero_gpu.stream_on_device(vlm, noise_picture(0), question, settings, threading.Event()))


def test_events_and_report_come_back_from_the_worker(vlm: Vlm) -> None:
    here = events(vlm)
    zero_gpu.lend(vlm, spaces.GPU)
    there = events(vlm)
    assert [type(event) for event in there] == [type(event) for event in here]
    assert {type(event) for event in there} == {Encoding, Started, Traced, Progress, NewText, Report}
    one, other = here[-1], there[-1]
    assert [arm.answer for arm in one.arms] == [arm.answer for arm in other.arms]
    assert [arm.layer_kv_bytes for arm in one.arms] == [arm.layer_kv_bytes for arm in other.arms]
    assert one.device == other.device | {"threads": one.device["threads"]}
    for arm, same in zip(one.arms, other.arms, strict=True):
        assert (arm.trace.ran_ffn == same.trace.ran_ffn).all() and same.energy_j is None


@pytest.fixture(scope="module")
def visitor(tiny: Vlm) -> Iterator[Visitor]:
    """Of the page of a model that is lent."""
    zero_gpu.lend(tiny, spaces.GPU)
    page = build_page(tiny)
    visitor = Visitor(start(page, host="127.0.0.1"))
    yield visitor
    visitor.close()
    page.close(verbose=False)


@pytest.mark.parametrize("name", OFFERED)
def test_every_method_runs_in_the_worker_and_only_there(visitor: Visitor, tiny: Vlm, name: str) -> None:
    here = os.getpid()

    def no_device(*_: Any) -> None:
        assert os.getpid() != here, "on a Space, nothing of the model can run in the page's own process"

    zero_gpu.lend(tiny, spaces.GPU)
    found_on.cache_clear()
    handles = [module.register_forward_pre_hook(no_device) for module in tiny.model.modules()]
    try:
        short = {"longest_answer_in_tokens": 1, "timed_runs_of_each": 1}
        messages = list(visitor.ask(visitor.upload(PNG), "what is it?", method=name, **short))
    finally:
        for handle in handles:
            handle.remove()
    assert messages[-1].error is None and "Done" in visitor.shown(messages[-1], "notice")
    assert OFFERED[name].name in visitor.shown(messages[-1], "answer-1")


def test_a_trained_summary_stays_where_the_model_is(scenes: Vlm) -> None:
    zero_gpu.lend(scenes, spaces.GPU)
    report = events(scenes)[-1]
    assert report.arms[1].settings["summary"] == scenes.skipping.settings()["summary"]


@pytest.mark.parametrize(
    "question, settings, says",
    [("", SETTINGS, "Type a question"), ("?", replace(SETTINGS, num_retained=-1), "negative")],
)
def test_a_refusal_keeps_its_sentence(tiny: Vlm, question: str, settings: Settings, says: str) -> None:
    zero_gpu.lend(tiny, spaces.GPU)
    with pytest.raises(InputError, match=says):
        events(tiny, question, settings)


def test_a_failing_worker_is_one_sentence_and_the_next_run_is_right(tiny: Vlm, monkeypatch: pytest.MonkeyPatch) -> None:
    zero_gpu.lend(tiny, spaces.GPU)
    with monkeypatch.context() as broken:
        broken.setattr(zero_gpu, "stream", lambda *_, **__: 1 / 0)
        with pytest.raises(InputError, match="refused this run or broke it off"):
            events(tiny)
    assert isinstance(events(tiny)[-1], Report)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_too_little_memory_in_the_worker_is_told_as_such(
    tiny: Vlm, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_memory(*_: Any, **__: Any) -> Generator[Any]:
        raise error("no memory left")
        yield

    zero_gpu.lend(tiny, spaces.GPU)
    monkeypatch.setattr(zero_gpu, "stream", without_memory)
    with pytest.raises(MemoryError):
        events(tiny)


def test_a_stopped_run_ends_in_the_worker_too(tiny: Vlm) -> None:
    zero_gpu.lend(tiny, spaces.GPU)
    stop = threading.Event()
    with closing(zero_gpu.stream_on_device(tiny, noise_picture(0), "what?", SETTINGS, stop)) as running:
        assert isinstance(next(running), Encoding)
        stop.set()
        assert list(running) == []
    assert spaces.multiprocessing.active_children() == []


def test_the_run_is_done_by_another_process(tiny: Vlm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zero_gpu, "stream", lambda *_, **__: iter([os.getpid()]))
    assert events(tiny) == [os.getpid()]
    zero_gpu.lend(tiny, spaces.GPU)
    assert events(tiny) != [os.getpid()]


def test_quota_errors_are_told_in_our_words(tiny: Vlm) -> None:
    def without_quota(**_: Any) -> Callable[..., Any]:
        def decorate(_task: Any) -> Callable[..., Generator[bytes]]:
            def refuse(*_: Any) -> Generator[bytes]:
                raise gr.Error("You have exceeded your <a>GPU quota</a>")
                yield b""

            return refuse

        return decorate

    zero_gpu.lend(tiny, without_quota)
    with pytest.raises(InputError, match="sign in to Hugging Face"):
        events(tiny)


@pytest.mark.parametrize(
    "tokens, repeats, seconds",
    [(1, 1, 10 + 2 * (1.5 + 0.03)), (96, 3, 10 + 2 * (2.5 + 8.64)), (256, 20, 10 + 2 * (11 + 153.6))],
)
def test_the_gpu_is_asked_for_as_long_as_the_run_may_take(tokens: int, repeats: int, seconds: float) -> None:
    settings = replace(SETTINGS, max_new_tokens=tokens, repeats=repeats)
    assert zero_gpu.estimated_seconds(settings) == pytest.approx(seconds)


def test_no_more_than_the_quota_is_asked_for(tiny: Vlm) -> None:
    asked = []

    def gpu(*, duration: Callable[..., float]) -> Callable[..., Any]:
        def decorate(task: Callable[..., Generator[bytes]]) -> Callable[..., Generator[bytes]]:
            def run(*arguments: Any) -> Generator[bytes]:
                asked.append(duration(*arguments))
                return task(*arguments)

            return run

        return decorate

    zero_gpu.lend(tiny, gpu)
    for max_new_tokens, repeats in ((1, 1), (256, 20)):
        stop = threading.Event()
        stop.set()
        settings = replace(SETTINGS, max_new_tokens=max_new_tokens, repeats=repeats)
        assert list(zero_gpu.stream_on_device(tiny, noise_picture(0), "what?", settings, stop)) == []
    assert asked == [pytest.approx(13.06), zero_gpu.LONGEST_S]
