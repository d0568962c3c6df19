"""Several visitors on one device: thirty at once, one who waits, one who leaves, one whose run fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from typing import Any

import gradio as gr
import httpx
import pytest
import torch
from gradio_client import Client, handle_file
from held_runs import LONGEST, held
from hostile_pictures import PNG, encoded

from app.examples import load_examples
from app.measure.over_http import Refused, Visitor
from app.page import build_page
from app.server.device import DEVICE
from app.server.launch import start
from app.server.pace import ahead
from app.server.refusals import OUT_OF_MEMORY, UNEXPECTED, is_out_of_memory
from app.server.visitors import Line, _running, place_in_line
from app.settings import Settings
from app.world import world_of
from profiling import Report, compare, stream
from skipcore import Dense, Vlm, ask
from skipcore.builtin.questions.questions import is_right
from skipcore.builtin.scenes.numbered import numbered_scene
from skipcore.families import decoder_layers

# Gradio 6.31 counts its events in ways that pandas 3 deprecates
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing")

VISITORS = 30
NEW_TOKENS = 8


@pytest.fixture(scope="module")
def page(scenes: Vlm) -> Iterator[gr.Blocks]:
    page = build_page(scenes)
    start(page, host="127.0.0.1")
    yield page
    page.close(verbose=False)


@pytest.fixture
def visit(page: gr.Blocks) -> Iterator:
    visitors: list[Visitor] = []

    def come() -> Visitor:
        visitors.append(Visitor(page.local_url))
        return visitors[-1]

    yield come
    for visitor in visitors:
        visitor.close()


def test_thirty_visitors_at_once_get_their_own_right_answers(visit, scenes: Vlm) -> None:
    skipping = Settings(100, 156, "saliency", False, NEW_TOKENS, 1).compared(scenes)
    files, asked, alone = [], [], []
    for number in count():
        scene = numbered_scene(number, 1, world_of(scenes))
        file, question = encoded(scene.picture), scene.questions[0]
        answers = [ask(scenes, file, question.text, method, NEW_TOKENS) for method in (Dense(), skipping)]
        if is_right(question, answers[0]):
            files.append(file), asked.append(question), alone.append(answers)
        if len(asked) == VISITORS:
            break
    visitors = [visit() for _ in range(VISITORS)]
    together = threading.Barrier(VISITORS)

    def run(number: int) -> dict[str, Any]:
        upload = visitors[number].upload(files[number])
        together.wait()
        return visitors[number].compare(upload, asked[number].text, max_new_tokens=NEW_TOKENS)

    with ThreadPoolExecutor(VISITORS) as pool:
        reports = list(pool.map(run, range(VISITORS)))
    assert [report["question"] for report in reports] == [question.text for question in asked]
    assert [[arm["answer"] for arm in report["arms"]] for report in reports] == alone
    assert len({answers[0] for answers in alone}) > VISITORS / 3  # a mix-up would show


@pytest.mark.parametrize("leaves_from", ["page", "api"])
def test_a_visitor_who_leaves_in_prefill_frees_the_device_before_the_next_layer(
    visit, scenes: Vlm, leaves_from: str
) -> None:
    visitor = visit()
    picture = visitor.upload(PNG)
    expected = visitor.compare(picture, "what is it?", max_new_tokens=3)["arms"][0]["answer"]
    with held(scenes) as runs:
        with visitor.at_the_page():
            threading.Thread(target=lambda: _follow(visitor, picture, leaves_from), daemon=True).start()
            run = runs.next()
            [stop] = _running[visitor.session]
            assert not stop.is_set()
        assert stop.wait(LONGEST)
        run.go_on.set()
        assert scenes.lock.acquire(timeout=LONGEST)
        scenes.lock.release()
        assert run.layers == 1
    assert visit().compare(picture, "what is it?", max_new_tokens=3)["arms"][0]["answer"] == expected


def test_cancelling_over_the_api_frees_the_device_before_the_next_layer(page: gr.Blocks, visit, scenes: Vlm) -> None:
    client, file = Client(page.local_url, verbose=False), handle_file(load_examples()[0].image)
    with held(scenes) as runs:
        job = client.submit(image=file, question="what is it?", max_new_tokens=64, repeats=20, api_name="/compare")
        run = runs.next()
        job.cancel()
        run.go_on.set()
        visitor = visit()
        assert visitor.compare(visitor.upload(PNG), "what is it?", max_new_tokens=1)["arms"]
    assert run.layers == 1


@pytest.mark.parametrize("way", ["page", "api"])
def test_a_client_without_a_heartbeat_that_drops_its_connection_frees_the_device(visit, scenes: Vlm, way: str) -> None:
    visitor, other = visit(), visit()
    picture = visitor.upload(PNG)
    with held(scenes) as runs:
        settings = list(visitor._parameters.values())[2:]
        called = ("compare", [picture, "what is it?", *settings])
        answers = visitor.events(*called) if way == "api" else visitor.ask(picture, "what is it?")
        assert next(answers).kind  # the connection is open
        run = runs.next()
        [stop] = _running[visitor.session]
        answers.close()
        visitor.close()
        assert stop.wait(LONGEST)
        run.go_on.set()
        assert other.compare(picture, "what is it?", max_new_tokens=1)["arms"]
    assert run.layers == 1


def test_others_are_served_while_the_run_of_a_visitor_who_left_is_still_in_a_step() -> None:
    left, go_on, stop, order = threading.Event(), threading.Event(), threading.Event(), list[str]()

    def run() -> Generator[str]:
        yield "shown"
        left.wait(LONGEST)
        yield "shown to nobody"
        go_on.wait(LONGEST)
        order.append("the step ends")

    def ask() -> Iterator[str]:
        yield from ahead(run(), stop)

    with gr.Blocks() as page:
        gr.Button().click(ask, None, gr.HTML(), api_name="ask")
    address = start(page, host="127.0.0.1")
    try:
        visitor = Visitor(address)
        messages = visitor.events("ask", [])
        assert any(message.kind == "process_generating" for message in messages)
        [job] = filter(None, page._queue.active_jobs)
        messages.close()
        visitor.close()
        _until(lambda: not job[0].alive)
        left.set()
        assert stop.wait(LONGEST)  # the generator is being closed
        assert httpx.get(address + "config", timeout=LONGEST / 2).status_code == 200
        order.append("another visitor is served")
        go_on.set()
        assert list(ahead((1 for _ in range(1)), threading.Event())) == [1]
    finally:
        go_on.set()
        page.close(verbose=False)
    assert order == ["another visitor is served", "the step ends"]


def _follow(visitor: Visitor, picture: Any, way: str) -> None:
    with suppress(Refused, httpx.HTTPError):  # the connection ends under it
        visitor.compare(picture, "what is it?") if way == "api" else list(visitor.ask(picture, "what is it?"))


def test_those_who_wait_see_their_place_and_move_up(page: gr.Blocks, visit, scenes: Vlm) -> None:
    line = Line(page, str(DEVICE["concurrency_id"]))
    visitors = [visit() for _ in range(4)]
    picture = visitors[0].upload(PNG)
    quick = {"longest_answer_in_tokens": 1, "timed_runs_of_each": 1}
    with ThreadPoolExecutor(4) as pool, held(scenes) as runs:
        asked = [pool.submit(lambda visitor=visitors[0]: list(visitor.ask(picture, "what is it?", **quick)))]
        run = runs.next()
        for number, visitor in enumerate(visitors[1:]):
            asked.append(pool.submit(lambda visitor=visitor: list(visitor.ask(picture, "what is it?", **quick))))
            _until(lambda number=number: page._queue.event_queue_per_concurrency_id["device"].queue[number:])
        assert [line.seen_by(visitor.session) for visitor in visitors[1:]] == [place_in_line(n) for n in range(3)]
        assert line.at_its_end() == place_in_line(3) and not line.is_full
        assert line.seen_by(visitors[0].session) is line.seen_by("somebody else") is None
        run.go_on.set()
    for messages in asked:
        assert messages.result()[-1].kind == "process_completed"
    _until(lambda: line.at_its_end() == place_in_line(None))


def _until(true: Callable[[], Any]) -> None:
    for _ in range(100 * LONGEST):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def test_a_stop_ends_a_prefill_before_the_next_layer_and_leaves_nothing_behind(tiny: Vlm, picture) -> None:
    before = compare(tiny, picture, "what?", max_new_tokens=4)
    hooks = [len(module._forward_pre_hooks) for module in tiny.model.modules()]
    stop = threading.Event()
    with held(tiny) as runs, ThreadPoolExecutor(1) as pool:
        streamed = pool.submit(lambda: list(stream(tiny, picture, "what?", stop=stop)))
        run = runs.next()
        stop.set()
        run.go_on.set()
        events = streamed.result(LONGEST)
    assert run.layers == 1
    assert not any(isinstance(event, Report) for event in events)
    assert [len(module._forward_pre_hooks) for module in tiny.model.modules()] == hooks
    after = compare(tiny, picture, "what?", max_new_tokens=4)
    assert [arm.answer for arm in after.arms] == [arm.answer for arm in before.arms]
    assert [arm.kv_bytes for arm in after.arms] == [arm.kv_bytes for arm in before.arms]


FAILURES = {
    "GPU": (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. /secret/path"), OUT_OF_MEMORY),
    "CPU": (
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"),
        OUT_OF_MEMORY,
    ),
    "Python": (MemoryError(), OUT_OF_MEMORY),
    "other": (RuntimeError("a secret of /the/server"), UNEXPECTED),
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("call", [1, 5])  # in the first prefill; in a later run
def test_a_run_that_fails_says_so_once_and_leaves_the_next_one_clean(visit, scenes: Vlm, name: str, call: int) -> None:
    error, says = FAILURES[name]
    assert is_out_of_memory(error) is (says is OUT_OF_MEMORY)
    visitor = visit()
    picture = visitor.upload(PNG)
    expected = visitor.compare(picture, "what is it?", max_new_tokens=3)["arms"]
    calls = 0

    def fail(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise error

    handle = decoder_layers(scenes.model)[3].register_forward_hook(fail)
    try:
        with pytest.raises(Refused) as refusal:
            visitor.compare(picture, "what is it?", max_new_tokens=3)
    finally:
        handle.remove()
    assert str(refusal.value) == says
    assert calls == call  # it was not tried again
    again = visitor.compare(picture, "what is it?", max_new_tokens=3)["arms"]
    assert [(arm["answer"], arm["kv_bytes"]) for arm in again] == [(arm["answer"], arm["kv_bytes"]) for arm in expected]


def test_a_full_line_turns_away_in_a_sentence(page: gr.Blocks, monkeypatch: pytest.MonkeyPatch, visit) -> None:
    monkeypatch.setattr(page._queue, "max_size", 0)
    assert Line(page, "device").is_full
    visitor = visit()
    [message] = visitor.ask(None, "what?")
    assert message.kind == "refused" and "full" in message.error


def test_places_in_line() -> None:
    said = [place_in_line(before) for before in (None, 0, 1, 29)]
    assert said == [
        "In line for the device…",
        "In line for the device, you are next…",
        "In line for the device, 1 before you…",
        "In line for the device, 29 before you…",
    ]
