"""One more model beside the first: loaded, chosen and unloaded while the page runs, in nobody's way."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import ref

import httpx
import pytest
import torch
from hostile_pictures import PNG
from tiny_families import BUILDERS

from app.measure.over_http import Message, Refused, Visitor
from app.page import build_page
from app.server import pool as pool_module
from app.server.device import device_held
from app.server.launch import start
from app.server.models import KNOWN
from app.server.pool import ModelPool
from app.server.visitors import _waiting
from skipcore import InputError, Vlm

# Gradio 6.31 counts its events in ways that pandas 3 deprecates
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing")

NAMES = ("some/small-one", "some/other-one")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {}
    for name, family in zip(NAMES, ("SmolVLM", "Qwen3-VL"), strict=True):
        torch.manual_seed(0)
        model, processor = BUILDERS[family]()
        folders[name] = tmp_path_factory.mktemp("models") / name.split("/")[1]
        model.save_pretrained(folders[name])
        processor.save_pretrained(folders[name])
    return folders


@pytest.fixture
def pool(scenes: Vlm, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> ModelPool:
    """Of two models beside the first, which are folders on this machine."""
    monkeypatch.setattr(pool_module, "fetch", lambda *_: iter(()))
    monkeypatch.setattr(pool_module, "folder_of", folders.get)
    return ModelPool(scenes, known=[replace(KNOWN[0], name=name) for name in NAMES])


@pytest.fixture
def address(pool: ModelPool) -> Iterator[str]:
    page = build_page(pool)
    yield start(page, host="127.0.0.1")
    page.close(verbose=False)


@pytest.fixture
def visit(address: str) -> Iterator:
    visitors: list[Visitor] = []

    def come() -> Visitor:
        visitors.append(Visitor(address))
        return visitors[-1]

    yield come
    for visitor in visitors:
        visitor.close()


@pytest.fixture
def first(visit) -> Visitor:
    return visit()


def call(visitor: Visitor, event: str, *values: Any) -> str:
    """The last sentence beside the buttons."""
    return said(list(visitor.events(event, list(values)))[-1])


def said(message: Message) -> str:
    return " ".join(each for each in map(str, message.data) if "notice" in each)


def answers(visitor: Visitor, picture: Any) -> str:
    """Of the visitor's own model, on the page; both answers and the headline, which names the model."""
    quick = {"longest_answer_in_tokens": 3, "timed_runs_of_each": 1, "retained": 10, "skipped": 20}
    *_, last = visitor.ask(picture, "what is it?", **quick)
    assert "Done" in visitor.shown(last, "notice")
    return visitor.shown(last, "headline")


def _until(true: Any) -> None:
    for _ in range(1500):
        if true():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it did not happen")


def test_who_loads_a_model_uses_it_and_the_others_keep_theirs(visit, first: Visitor, pool: ModelPool) -> None:
    other, picture = visit(), first.upload(PNG)
    assert f"{NAMES[0]} is loaded." in call(first, "load", NAMES[0])
    assert pool.addresses == {"built-in": "/", NAMES[0]: "/models/small-one/"}
    assert NAMES[0] in answers(first, picture) and NAMES[0] not in answers(other, picture)
    assert f"{NAMES[0]} answers from now on." in call(other, "choose", NAMES[0])
    assert NAMES[0] in answers(other, picture)
    assert "built-in answers from now on." in call(other, "choose", "built-in")
    assert NAMES[0] not in answers(other, picture) and NAMES[0] in answers(first, picture)
    assert f"{NAMES[1]} is not loaded: press Load." in call(other, "choose", NAMES[1])


def test_the_page_follows_the_choice(first: Visitor, pool: ModelPool) -> None:
    call(first, "load", NAMES[1])
    *_, last = first.events("show_model", [None, None])
    by_id = dict(zip(first.outputs_of("show_model"), last.data, strict=True))
    assert NAMES[1] in by_id["models"]["label"]
    assert by_id["retained"]["maximum"] == 100 and "per cent" in by_id["retained"]["label"]  # any number of tokens
    assert by_id["overlay-layer"]["maximum"] == pool.get(NAMES[1]).num_layers
    assert not by_id["world-lists"]["visible"] and not by_id["scene"]["visible"] and not by_id["outcomes"]["visible"]
    assert "not known" in by_id["world"] and not by_id["tokens-result"]["visible"]
    assert "time to first token" not in by_id["answer-0"]  # what another model has answered is gone
    call(first, "choose", "built-in")
    *_, last = first.events("show_model", [None, None])
    by_id = dict(zip(first.outputs_of("show_model"), last.data, strict=True))
    assert by_id["retained"]["maximum"] == 576 and by_id["world-lists"]["visible"]
    assert "time to first token" in by_id["answer-0"]  # the recorded example, as at first


def test_the_api_takes_the_name_of_a_loaded_model(first: Visitor) -> None:
    picture = first.upload(PNG)
    before = first.compare(picture, "what is it?", max_new_tokens=3)
    with pytest.raises(Refused, match=r"This model is not loaded: choose one of built-in, or load it first\."):
        first.compare(picture, "what is it?", max_new_tokens=3, model=NAMES[0])
    call(first, "load", NAMES[0])
    report = first.compare(picture, "what is it?", max_new_tokens=3, model=NAMES[0])
    assert report["model"] == NAMES[0] and len(report["arms"]) == 2
    assert before["model"] != NAMES[0]  # the default, whatever the visitor's choice on the page
    assert first.compare(picture, "what is it?", max_new_tokens=3)["arms"][0]["answer"] == before["arms"][0]["answer"]
    listed = {each["name"]: each for each in list(first.events("models", []))[-1].data[0]}
    assert listed["built-in"]["runs_here"] and listed["built-in"]["address"] == "/"


def test_the_next_model_takes_the_place_of_the_last_and_nothing_of_that_stays(first: Visitor, pool: ModelPool) -> None:
    assert "is loaded" in call(first, "load", NAMES[0])
    weights = [ref(parameter) for parameter in pool.get(NAMES[0]).vlm.model.parameters()]
    answers(first, first.upload(PNG))
    list(first.events("draw", [None, 1, "state", 1]))  # a conversation begins, which knows the model
    assert "is loaded" in call(first, "load", NAMES[1])
    assert list(pool.loaded) == ["built-in", NAMES[1]]
    gc.collect()
    assert all(each() is None for each in weights)
    assert f"{NAMES[1]} is unloaded" in call(first, "unload", None)
    assert list(pool.loaded) == ["built-in"]
    assert "No other model is loaded" in call(first, "unload", None)
    assert NAMES[1] not in answers(first, first.upload(PNG))  # the first one answers


def test_a_model_that_somebody_has_chosen_is_left_alone(visit, first: Visitor, pool: ModelPool) -> None:
    other = visit()
    call(first, "load", NAMES[0])
    with other.at_the_page():
        call(other, "choose", NAMES[0])
        assert "is in use" in call(first, "unload", None)
        assert "is in use" in call(first, "load", NAMES[1])
        assert NAMES[0] in pool.loaded
    _until(lambda: other.session not in pool._users)  # the server notices that they have left
    assert "is unloaded" in call(first, "unload", None)


def test_a_model_that_is_asked_over_the_api_is_left_alone(visit, first: Visitor) -> None:
    call(first, "load", NAMES[0])
    other = visit()
    picture = other.upload(PNG)
    with ThreadPoolExecutor(1) as threads:
        with device_held():
            run = threads.submit(other.compare, picture, "what is it?", max_new_tokens=2, model=NAMES[0])
            _until(lambda: other.session in _waiting)  # for the device, and is told so
            assert "is in use" in call(first, "unload", None)
            assert not run.done()
        assert len(run.result()["arms"]) == 2


def test_a_model_that_was_chosen_meanwhile_stays(
    first: Visitor, pool: ModelPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(first, "load", NAMES[0])
    model = pool.get(NAMES[0])

    def fetch_while_somebody_comes(*_: Any) -> Iterator[tuple[int, int]]:
        pool.choose(NAMES[0], "somebody")
        yield 0, 1

    monkeypatch.setattr(pool_module, "fetch", fetch_while_somebody_comes)
    assert "is in use" in call(first, "load", NAMES[1])
    assert pool.get(NAMES[0]) is model and not any(each.is_meta for each in model.vlm.model.parameters())


def test_who_leaves_before_they_arrive_is_not_waited_for(pool: ModelPool) -> None:
    pool.load(NAMES[0], "usual")
    pool.leave("early")
    for session in ("early", "usual"):
        assert pool.choose(NAMES[0], session).name == NAMES[0]
    assert pool._users == {"usual"}
    pool.leave("usual")
    assert pool.unload("somebody") == NAMES[0]
    with pytest.raises(InputError, match="not loaded"):
        pool.choose(NAMES[0], "somebody")


def test_the_built_in_model_is_loaded_beside_another(tiny: Vlm) -> None:
    pool = ModelPool(tiny, known=KNOWN)
    pool.load("built-in", "somebody")
    assert list(pool.addresses.values()) == ["/", "/models/built-in/"] and pool.get("built-in").is_judge
    assert pool.unload("somebody") == "built-in"


@pytest.mark.parametrize("name", [None, 3, "", "some/unknown", "../../etc", ["some/small-one"], {"a": 1}])
def test_only_listed_models_can_be_named(first: Visitor, pool: ModelPool, name: Any) -> None:
    assert "Choose one of the models in the list." in call(first, "load", name)
    assert list(pool.loaded) == ["built-in"]


def test_what_does_not_fit_is_one_sentence(first: Visitor, pool: ModelPool, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(pool_module, "free_bytes", lambda device: 1)
        assert "or choose a model of at most" in call(first, "load", NAMES[0])
    assert list(pool.loaded) == ["built-in"]
    assert "is loaded" in call(first, "load", NAMES[0])


@pytest.mark.parametrize(
    "path, goes_to",
    [
        ("models/small-one/?question=hello", "../../?model=small-one&question=hello"),
        ("models/small-one", "../?model=small-one"),
        ("models/%2F%2Fevil.example", "../?model=%2F%2Fevil.example"),
    ],
)
def test_a_models_address_leads_to_the_page(address: str, path: str, goes_to: str) -> None:
    answer = httpx.get(address + path)
    assert answer.status_code in (307, 404)
    if answer.status_code == 307:
        assert answer.headers["location"] == goes_to
