"""Hundreds of hostile files, texts and values through the API and through the page: one clear sentence each, and the
next good run is right."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hostile_values as values
import httpx
import pytest
from hostile_pictures import PICTURES, PNG, picture_file

from app.measure.over_http import Message, Refused, Visitor
from app.page import build_page
from app.server.gradio_internals import upload_folder
from app.server.launch import start
from profiling import compare
from skipcore import Vlm

# Gradio 6.31 counts its events in ways that pandas 3 deprecates
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing")

QUESTION = "what is it?"
QUICK = {"api": {"max_new_tokens": 1}, "page": {"longest_answer_in_tokens": 1, "timed_runs_of_each": 1}}
# Answers through the page take long, so only of those who could do harm there.
SHOWN = {"name of HTML", "PNG and HTML", "text of scripts", "JPEG with a script", "HTML", "HTML that ends its place"}
both_ways = pytest.mark.parametrize("way", ["api", "page"])


@pytest.fixture(scope="module")
def visitor(tiny: Vlm) -> Iterator[Visitor]:
    page = build_page(tiny)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny.model.config.get_text_config(), "max_position_embeddings", 8_192)
        yield Visitor(start(page, host="127.0.0.1"))
    page.close(verbose=False)


@pytest.fixture(scope="module")
def good(visitor: Visitor) -> dict[str, Any]:
    return visitor.upload(PNG)


@pytest.fixture(scope="module")
def uploads() -> Iterator[Path]:
    """Where uploads lie, with links in it that lead elsewhere."""
    folder = upload_folder()
    links = {folder / "link.png": Path("/etc/passwd"), folder / "loop.png": folder / "loop.png"}
    for link, target in links.items():
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    yield folder
    for link in links:
        link.unlink()


@pytest.fixture(scope="module", autouse=True)
def the_next_good_run_is_right(visitor: Visitor, good: dict[str, Any], tiny: Vlm) -> Iterator[None]:
    """After everything below."""
    yield
    expected = [arm.answer for arm in compare(tiny, PNG, QUESTION, max_new_tokens=5).arms]
    report = visitor.compare(good, QUESTION, max_new_tokens=5, num_retained=1.0, num_skipped=0)
    assert report["arms"][0]["answer"] == expected[0] != ""
    *_, last = visitor.ask(good, QUESTION, longest_answer_in_tokens=5, timed_runs_of_each=1)
    assert visitor.shown(last, "notice").startswith("Done")


def said(visitor: Visitor, way: str, picture: Any, question: Any = QUESTION, **changes: Any) -> str:
    """What a visitor is told; empty for an answer."""
    if way == "api":
        try:
            report = visitor.compare(picture, question, **QUICK["api"] | changes)
        except Refused as refusal:
            return is_a_sentence(str(refusal))
        assert len(report["arms"]) == 2
        return ""
    *_, last = visitor.ask(picture, question, **QUICK["page"] | changes)
    assert last.kind == "process_completed"
    if last.error is not None:  # Gradio refuses what no page can send, without a word
        assert last.error == "" and (not isinstance(picture, dict) or isinstance(picture["path"], int | dict))
        return values.NO_UPLOAD
    notice = visitor.shown(last, "notice")
    if notice.startswith("Done"):
        everything = json.dumps([last.data, drawn(visitor).data])
        assert "<script>alert" not in everything and "<img src=x" not in everything and "<style>*" not in everything
        return ""
    return is_a_sentence(notice)


def drawn(visitor: Visitor, **changes: Any) -> Message:
    """What the panels show of the last answer; what differs from the controls as they are at first by name."""
    controls = {"arm": 1, "view": "state", "layer": 1} | changes
    *_, last = visitor.events("draw", [None, *controls.values()])
    return last


def ways(name: str, says: str) -> tuple[str, ...]:
    """Through the API and the page; what is answered and does no harm through the API alone."""
    return ("api", "page") if says or name in SHOWN else ("api",)


def is_a_sentence(text: str) -> str:
    assert re.fullmatch(r"[A-Z“a-z_].{15,480}\.", text) and not re.search(
        r"Traceback|Error|File \"|/tmp|/etc|\.py", text
    ), text
    return text


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(visitor: Visitor, name: str) -> None:
    file = picture_file(name)
    if file.says == "413":
        with pytest.raises(Refused, match="413"):
            visitor.upload(file.content, file.name, file.mime)
        return
    upload = visitor.upload(file.content, file.name, file.mime)
    for way in ways(name, file.says):
        answer = said(visitor, way, upload)
        assert file.says in answer and bool(file.says) == bool(answer), (way, answer)


@both_ways
@pytest.mark.parametrize("name", values.PATHS)
def test_nothing_but_an_upload_is_opened(visitor: Visitor, uploads: Path, way: str, name: str) -> None:
    picture = values.PATHS[name]
    if isinstance(picture, dict) and isinstance(picture.get("path"), str):
        picture = picture | {"path": picture["path"].replace("{uploads}", str(uploads))}
    assert values.NO_UPLOAD in said(visitor, way, picture)


@both_ways
@pytest.mark.parametrize("name", values.MISSING)
def test_uploads_that_are_none(visitor: Visitor, uploads: Path, way: str, name: str) -> None:
    path = values.MISSING[name]["path"].replace("{uploads}", str(uploads))
    assert "no picture file" in said(visitor, way, {"path": path})


@pytest.mark.parametrize("name", values.QUESTIONS)
def test_questions(visitor: Visitor, good: dict[str, Any], name: str) -> None:
    question, says = values.QUESTIONS[name]
    for way in ways(name, says):
        answer = said(visitor, way, good, question)
        assert says in answer and bool(says) == bool(answer), (way, answer)


SETTINGS = [
    pytest.param(api, page, says, value, id=f"{api}={value!r:.20}")
    for api, page, says, several in values.SETTINGS
    for value in several
]


# None is as usual there.
NOT_SAID = {
    "api": ("num_retained", "num_skipped", "retain", "text_attends_skipped", "method"),
    "page": ("retain", "text_attends_skipped"),
}


@both_ways
@pytest.mark.parametrize("api, page, says, value", SETTINGS)
def test_settings(visitor: Visitor, good: dict[str, Any], way: str, api: str, page: str, says: str, value: Any) -> None:
    if value is None and api in NOT_SAID[way]:
        says = ""
    elif value is None and api == "method":
        says = "."  # the page sends a budget, too
    # whose settings these are; the model's own method has its own
    answer = said(visitor, way, good, **{"method": "SkipVision"} | {api if way == "api" else page: value})
    assert says in answer and bool(says) == bool(answer)


@both_ways
@pytest.mark.parametrize("budget", values.BUDGETS, ids=repr)
def test_budgets(visitor: Visitor, good: dict[str, Any], way: str, budget: Any) -> None:
    assert said(visitor, way, good, method="FastV", budget=budget)


@pytest.mark.parametrize("name", ["arm", "view", "layer"])
@pytest.mark.parametrize("value", ["x", None, 10**9], ids=repr)
def test_controls_of_the_panels(visitor: Visitor, good: dict[str, Any], name: str, value: Any) -> None:
    assert said(visitor, "page", good) == ""
    refusal = drawn(visitor, **{name: value}).error or ""  # of Gradio's own, or drawn all the same
    assert "/" not in refusal and "Traceback" not in refusal
    assert "Layer 1" in json.dumps(drawn(visitor).data)


BODIES: dict[str, Any] = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "no data": {"fn_index": "ask"},
    "data that is no list": {"data": "x", "fn_index": "ask"},
    "too few values": {"data": [None], "fn_index": "ask"},
    "too many values": {"data": [None] * 500, "fn_index": "ask"},
    "no function": {"data": []},
    "a function that is not there": {"data": [], "fn_index": 10_000},
    "a negative function": {"data": [], "fn_index": -1},
    "a function of text": {"data": [], "fn_index": "/etc/passwd"},
    "a function of the API that is not there": {"data": [], "api_name": "load"},
    "deep JSON": b"[" * 5_000 + b"]" * 5_000,
}


@pytest.mark.parametrize("name", BODIES)
def test_calls_that_are_none(visitor: Visitor, name: str) -> None:
    body = BODIES[name]
    if isinstance(body, dict):
        if body.get("fn_index") == "ask":
            body = body | {"fn_index": visitor._events["ask"]["id"]}
        body = json.dumps(body | {"session_hash": visitor.session}).encode()
    for path in ("gradio_api/queue/join", "gradio_api/run/predict"):
        # a connection of its own: the server closes one that it could not make sense of
        answer = httpx.post(
            visitor.http.base_url.join(path), content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code in (200, 400, 403, 404, 405, 422, 500), answer.status_code
        assert not re.search(r"Traceback|File \"|site-packages|\.py", answer.text), answer.text


@pytest.mark.parametrize(
    "path",
    [
        "gradio_api/file=/etc/passwd",
        "gradio_api/file=../../etc/passwd",
        "gradio_api/file=%2e%2e/%2e%2e/etc/passwd",
        "gradio_api/file=/proc/self/environ",
        "gradio_api/file=requirements.txt",
        "gradio_api/file=app/__main__.py",
        "gradio_api/proxy=http://127.0.0.1:1/",
        "static/../../etc/passwd",
        "assets/..%2f..%2f..%2fetc%2fpasswd",
        "monitoring",
        "monitoring/summary",
        "gradio_api/runs",
    ],
)
def test_nothing_else_is_served(visitor: Visitor, path: str) -> None:
    answer = visitor.http.get(path)
    assert answer.status_code in (400, 403, 404, 405), answer.status_code
    assert "root:" not in answer.text and "Traceback" not in answer.text


def test_uploaded_scripts_are_never_shown_as_pages(visitor: Visitor) -> None:
    """A browser that opens an uploaded HTML or SVG file downloads it."""
    for name, mime in (("x.html", "text/html"), ("x.svg", "image/svg+xml")):
        file = visitor.upload(b"<script>alert(1)</script>", name, mime)
        answer = visitor.http.get(f"gradio_api/file={file['path']}")
        assert answer.status_code != 200 or "attachment" in answer.headers.get("content-disposition", "")
