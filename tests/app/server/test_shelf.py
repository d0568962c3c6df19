"""Models beside the first: loaded and unloaded while the page runs, in nobody's way, and gone when they are gone."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import ref

import gradio as gr
import httpx
import pytest
import torch
from hostile_pictures import PNG
from tiny_families import BUILDERS

from app.__main__ import _page_beside as page_beside
from app.measure.over_http import Message, Visitor
from app.page import build_page
from app.server import shelf as shelf_module
from app.server.device import device_held
from app.server.launch import serving, start
from app.server.models import KNOWN
from app.server.shelf import Shelf, Shelved, address_of
from app.server.visitors import _waiting
from skipcore import Vlm

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
def shelf(scenes: Vlm, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Of two models, which are folders on this machine."""
    monkeypatch.setattr(shelf_module, "fetch", lambda *_: iter(()))
    monkeypatch.setattr(shelf_module, "folder_of", folders.get)
    known = [replace(KNOWN[0], name=name) for name in NAMES]
    return Shelf(scenes, page_beside, serving(), known=known)


@pytest.mark.parametrize("root", ["/skip", "https://example.com/skip"])
def test_a_loaded_model_has_its_page_behind_a_proxy_too(
    scenes: Vlm, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    monkeypatch.setenv("GRADIO_ROOT_PATH", root)
    page = build_page(scenes, shelf=shelf)
    address = start(page, host="127.0.0.1", shelf=shelf)
    first = Visitor(address)
    assert "is loaded" in call(first, "load", NAMES[0])
    # as it comes from a proxy that takes the prefix off, and from one that does not, or from the page's own scripts
    for prefix in ["", "skip/"] if root.startswith("/") else [""]:
        path = f"{address}{prefix}models/small-one"
        assert httpx.get(path).headers["location"] == "small-one/?"
        assert httpx.get(f"{path}/").status_code == 200
        assert httpx.get(f"{path}/config").json()["root"].endswith("/skip/models/small-one")
        other = Visitor(f"{path}/")
        assert other.compare(other.upload(PNG), "what is it?", max_new_tokens=2)["model"] == NAMES[0]
        other.close()
    first.close()
    page.close(verbose=False)


@pytest.fixture
def address(scenes: Vlm, shelf: Shelf) -> Iterator[str]:
    page = build_page(scenes, shelf=shelf)
    yield start(page, host="127.0.0.1", shelf=shelf)
    page.close(verbose=False)


@pytest.fixture
def first(address: str) -> Iterator[Visitor]:
    visitor = Visitor(address)
    yield visitor
    visitor.close()


def call(visitor: Visitor, event: str, *values: Any) -> str:
    """The last sentence beside the buttons."""
    return said(list(visitor.events(event, list(values)))[-1])


def _until_it_waits(visitor: Visitor) -> None:
    for _ in range(1500):
        if visitor.session in _waiting:
            return
        threading.Event().wait(0.02)
    raise AssertionError("it does not wait")


def said(message: Message) -> str:
    return " ".join(each for each in map(str, message.data) if "notice" in each)


def test_a_loaded_model_has_a_page_that_answers_beside_the_first(address: str, first: Visitor, shelf: Shelf) -> None:
    picture = first.upload(PNG)
    before = first.compare(picture, "what is it?", max_new_tokens=3)["arms"][0]["answer"]
    assert f"{NAMES[0]} is loaded." in call(first, "load", NAMES[0])
    assert shelf.addresses == {"built-in": "/", NAMES[0]: "/models/small-one/"}
    other = Visitor(address.rstrip("/") + "/models/small-one/")
    report = other.compare(other.upload(PNG), "what is it?", max_new_tokens=3)
    assert report["model"] == NAMES[0] and len(report["arms"]) == 2
    listed = {each["name"]: each for each in list(other.events("models", []))[-1].data[0]}
    assert listed[NAMES[0]]["runs_here"] and not listed["built-in"]["runs_here"]
    assert first.compare(picture, "what is it?", max_new_tokens=3)["arms"][0]["answer"] == before
    other.close()


def test_the_next_model_takes_the_place_of_the_last_and_nothing_of_that_stays(first: Visitor, shelf: Shelf) -> None:
    assert "is loaded" in call(first, "load", NAMES[0])
    assert shelf._other is not None
    weights = [ref(parameter) for parameter in shelf._other.vlm.model.parameters()]
    assert "is loaded" in call(first, "load", NAMES[1])
    assert list(shelf.addresses) == ["built-in", NAMES[1]]
    gc.collect()
    assert all(each() is None for each in weights)
    assert f"{NAMES[1]} is unloaded" in call(first, "unload")
    assert list(shelf.addresses) == ["built-in"]
    assert "is not loaded" in call(first, "unload")


def test_a_model_in_use_is_left_alone(address: str, first: Visitor, shelf: Shelf) -> None:
    call(first, "load", NAMES[0])
    assert shelf._other is not None
    shelf._other.visitors.add("somebody")
    assert "is in use" in call(first, "unload")
    assert "is in use" in call(first, "load", NAMES[1])
    assert NAMES[0] in shelf.addresses
    shelf._other.visitors.clear()
    assert "is unloaded" in call(first, "unload")


def test_a_model_that_is_asked_over_http_is_left_alone(address: str, first: Visitor, shelf: Shelf) -> None:
    call(first, "load", NAMES[0])
    other = Visitor(address.rstrip("/") + address_of(NAMES[0]))
    picture = other.upload(PNG)
    with ThreadPoolExecutor(1) as pool:
        with device_held():
            run = pool.submit(other.compare, picture, "what is it?", max_new_tokens=2)
            _until_it_waits(other)
            assert "is in use" in call(first, "unload")
        assert len(run.result()["arms"]) == 2
    other.close()


def test_a_page_that_was_opened_meanwhile_stays(first: Visitor, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    call(first, "load", NAMES[0])
    other = shelf._other
    assert other is not None

    def fetch_while_somebody_comes(*_: Any) -> Iterator[tuple[int, int]]:
        other.visitors.add("somebody")
        yield 0, 1

    monkeypatch.setattr(shelf_module, "fetch", fetch_while_somebody_comes)
    assert "is in use" in call(first, "load", NAMES[1])
    assert shelf._other is other and not any(each.is_meta for each in other.vlm.model.parameters())


def test_who_leaves_before_they_arrive_is_not_waited_for(tiny: Vlm) -> None:
    shelved = Shelved(tiny, gr.Blocks())
    shelved.count_visitors()
    arrive, leave = (each.fn for each in shelved.page.fns.values())
    early, usual = SimpleNamespace(session_hash="early"), SimpleNamespace(session_hash="usual")
    leave(early), arrive(early), arrive(usual)
    assert shelved.visitors == {"usual"}
    leave(usual)
    assert not shelved.visitors


def test_an_upload_outlives_the_page_of_another_model(address: str, first: Visitor, shelf: Shelf) -> None:
    picture = first.upload(PNG)
    call(first, "load", NAMES[0])
    other = Visitor(address.rstrip("/") + address_of(NAMES[0]))
    assert other.upload(PNG)["path"] == picture["path"]
    other.close()
    assert "is unloaded" in call(first, "unload")
    assert len(first.compare(picture, "what is it?", max_new_tokens=2)["arms"]) == 2


def test_the_built_in_model_is_loaded_beside_another(tiny: Vlm) -> None:
    shelf = Shelf(tiny, page_beside, serving())
    page = build_page(tiny, shelf=shelf)
    visitor = Visitor(start(page, host="127.0.0.1", shelf=shelf))
    assert "built-in is loaded." in call(visitor, "load", "built-in")
    assert list(shelf.addresses.values()) == ["/", "/models/built-in/"]
    assert "built-in is unloaded" in call(visitor, "unload")
    visitor.close()
    page.close(verbose=False)


@pytest.mark.parametrize("name", [None, 3, "", "built-in", "some/unknown", "../../etc", ["some/small-one"], {"a": 1}])
def test_only_listed_models_can_be_named(first: Visitor, shelf: Shelf, name: Any) -> None:
    assert "Choose one of the models in the list." in call(first, "load", name)
    assert list(shelf.addresses) == ["built-in"]


def test_what_does_not_fit_is_one_sentence(first: Visitor, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shelf_module, "free_bytes", lambda device: 1)
        assert "or choose a model of at most" in call(first, "load", NAMES[0])
    assert list(shelf.addresses) == ["built-in"]
    assert "is loaded" in call(first, "load", NAMES[0])


def test_a_run_on_another_page_waits_for_the_device_and_the_visitor_knows(address: str, first: Visitor) -> None:
    call(first, "load", NAMES[0])
    other = Visitor(address.rstrip("/") + address_of(NAMES[0]))
    picture = other.upload(PNG)
    with ThreadPoolExecutor(1) as pool:
        with device_held():
            run = pool.submit(other.compare, picture, "what is it?", max_new_tokens=2)
            _until_it_waits(other)
            assert other.session in _waiting
            assert not run.done()
        assert len(run.result()["arms"]) == 2
    other.close()


@pytest.mark.parametrize(
    "path, goes_to",
    [
        ("models/small-one/?question=hello", "../../?model=small-one&question=hello"),
        ("models/small-one", "../?model=small-one"),
        ("models/%2F%2Fevil.example", "../?model=%2F%2Fevil.example"),
    ],
)
def test_a_model_that_is_not_loaded_leads_to_the_first_page(address: str, path: str, goes_to: str) -> None:
    answer = httpx.get(address + path)
    assert answer.status_code in (307, 404)
    if answer.status_code == 307:
        assert answer.headers["location"] == goes_to


def test_a_missing_slash_is_added_where_the_model_is_loaded(address: str, first: Visitor) -> None:
    call(first, "load", NAMES[0])
    answer = httpx.get(address + "models/small-one?question=hello")
    assert answer.headers["location"] == "small-one/?question=hello"
