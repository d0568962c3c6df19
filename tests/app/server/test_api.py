"""The API of a running server: right for good input, one clear sentence for bad input, nothing else to be had."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio.route_utils import delete_files_created_by_app
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from shared_models import noise_picture

from app.examples import load_examples
from app.page import build_page
from app.runs.offered_methods import OFFERED, SKIP_VISION
from app.server.launch import start
from profiling import compare
from skipcore import METHODS, Dense, InputError, SkipVision, Vlm

# Gradio 6.31 counts its events in ways that pandas 3 deprecates
PUBLIC = ["/compare", "/models", "/methods"]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing")


@pytest.fixture(scope="module")
def page(scenes: Vlm) -> gr.Blocks:
    return build_page(scenes)


@pytest.fixture(scope="module")
def address(page: gr.Blocks) -> Iterator[str]:
    """A running server with the built-in model."""
    yield start(page, host="127.0.0.1")
    page.close(verbose=False)


@pytest.fixture(scope="module")
def client(address: str) -> Client:
    return Client(address, verbose=False)


@pytest.fixture
def ask(client: Client, tmp_path: Path):
    """Call the endpoint with a picture (PIL, bytes or a file) and what differs from a plain question."""

    def call(picture: Image.Image | bytes | Path | None = None, suffix: str = "png", **changes: Any) -> dict[str, Any]:
        file = tmp_path / f"picture.{suffix}"
        if isinstance(picture, bytes):
            file.write_bytes(picture)
        elif isinstance(picture, Path):
            file = picture
        else:
            (picture or noise_picture(0)).save(file)
        arguments: dict[str, Any] = {"image": handle_file(file), "question": "what is it?", "max_new_tokens": 3}
        return client.predict(**(arguments | changes), api_name="/compare")

    return call


def refused(call, *arguments: Any, **changes: Any) -> str:
    with pytest.raises(AppError) as refusal:
        call(*arguments, **changes)
    said = str(refusal.value)
    assert "Traceback" not in said and "/" not in said.replace(" / ", "") and said.endswith((".", ".'")), said
    return said


def png_of(width: int, height: int) -> bytes:
    """The smallest file that claims to be a PNG of this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_a_good_run_is_the_report(ask, scenes: Vlm) -> None:
    report = ask(num_retained=36, num_skipped=0.2, repeats=2, retain="uniform")
    expected = compare(scenes, noise_picture(0), "what is it?", [Dense()], max_new_tokens=3)
    dense, skip = report["arms"]
    assert dense["answer"] == expected.arms[0].answer
    assert dense["kv_bytes"] == expected.arms[0].kv_bytes == dense["kv_bytes_predicted"]
    assert skip["settings"]["num_retained"] == 36 and skip["settings"]["retain"] == "uniform"
    assert report["image_grid"] == [[24, 24]] and report["repeats"] == 2
    assert skip["name"] in report["savings"]


@pytest.mark.parametrize("method", [name for name in OFFERED if name != SKIP_VISION])
def test_every_method_can_be_compared(ask, method: str) -> None:
    dense, other = ask(method=method, max_new_tokens=1)["arms"]
    assert dense["name"] == "Dense" and other["name"].startswith(METHODS[method].name)
    assert other["kv_bytes"] == other["kv_bytes_predicted"]
    # of noise, DyMU finds nothing alike
    assert other["flops_prefill"] < dense["flops_prefill"] or (method == "DyMU" and other["flops_prefill"] > 0)


def test_skip_vision_can_follow_another_method(ask) -> None:
    _, both = ask(method="DivPrune", budget=0.5, then_skip_vision=True, num_retained=50)["arms"]
    assert both["name"] == "DivPrune 50% + Skip-Vision 50+156"
    assert both["settings"]["dropping"]["num_kept"] == 0.5 and both["settings"]["skipping"]["num_retained"] == 50


def test_the_page_uses_the_summary_the_model_was_trained_with(ask, scenes: Vlm) -> None:
    assert ask()["arms"][1]["settings"]["summary"] == (scenes.method or SkipVision()).settings()["summary"]


def test_only_the_api_is_public_and_it_is_documented(client: Client, page: gr.Blocks) -> None:
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(endpoints) == PUBLIC
    parameters = {each["parameter_name"]: each for each in endpoints["/compare"]["parameters"]}
    assert list(parameters)[:2] == ["image", "question"] and len(parameters) == 12 and list(parameters)[-1] == "model"
    assert parameters["num_retained"]["parameter_default"] is None
    assert parameters["method"]["parameter_default"] is None
    assert "PyramidDrop" in str(parameters["method"]["type"]) + str(parameters["method"]["python_type"])
    assert "Skip-Vision" in endpoints["/compare"]["description"]
    assert all(endpoints[name]["description"] for name in PUBLIC)
    visible = {each.api_name for each in page.fns.values() if each.api_visibility != "private"}
    assert visible == {name.removeprefix("/") for name in PUBLIC} and len(page.fns) > len(PUBLIC)


def test_models_and_methods_are_told(client: Client) -> None:
    models = client.predict(api_name="/models")
    [running] = [model for model in models if model["runs_here"]]
    assert running["name"] == "built-in" and len(models) > 5
    methods = client.predict(api_name="/methods")
    assert [method["name"] for method in methods] == list(OFFERED)
    assert methods[0]["budget"] is None and all(0 < method["budget"]["usual"] < 1 for method in methods[1:])
    assert all(method["summary"] for method in methods)


def test_the_api_takes_the_names_that_methods_tells(ask, client: Client) -> None:
    name = client.predict(api_name="/methods")[-1]["name"]
    assert ask(method=name, max_new_tokens=1)["arms"][1]["name"].startswith(METHODS[name].name)


def test_a_missing_mcp_package_is_named(page: gr.Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.server.launch.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install "gradio\[mcp\]"'):
        start(page, mcp=True)


@pytest.mark.skipif(find_spec("mcp") is None, reason='needs pip install "gradio[mcp]"')
def test_the_mcp_tools_are_the_api(tiny: Vlm) -> None:
    page = build_page(tiny)
    address = start(page, host="127.0.0.1", mcp=True)
    try:
        tools = {tool["name"]: tool for tool in httpx.get(address + "gradio_api/mcp/schema").json()}
    finally:
        page.close(verbose=False)
    assert sorted(tools) == ["compare", "methods", "models"]
    arguments = tools["compare"]["inputSchema"]["properties"]
    assert len(arguments) == 12 and all(each.get("description") for each in arguments.values())


@pytest.mark.parametrize("mode, suffix", [("CMYK", "jpg"), ("RGBA", "png"), ("L", "png"), ("P", "gif"), ("1", "bmp")])
def test_every_kind_of_picture_works(ask, mode: str, suffix: str) -> None:
    assert len(ask(noise_picture(0).convert(mode), suffix)["arms"]) == 2


def test_an_animation_and_a_turned_picture_work(ask, tmp_path: Path) -> None:
    frames = [noise_picture(seed) for seed in range(3)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90°
    frames[0].save(tmp_path / "turned.jpg", exif=exif)
    for name in ("moving.gif", "turned.jpg"):
        assert len(ask(tmp_path / name)["arms"]) == 2


@pytest.mark.parametrize("question", ["What is this? 🔴🟦", "¿Qué es? 这是什么？", "<script>alert(1)</script> & \x00"])
def test_every_kind_of_question_works(ask, question: str) -> None:
    assert ask(question=question)["question"] == question.strip()


def test_bad_pictures_get_a_sentence(ask, tmp_path: Path) -> None:
    noise_picture(0, 400, 300).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    assert "not a picture" in refused(ask, b"I am not a picture")
    assert "not a picture" in refused(ask, b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", "svg")
    assert "not a picture" in refused(ask, b"")
    assert "damaged or cut short" in refused(ask, whole[: len(whole) // 2])
    assert "only 1 × 1 pixels" in refused(ask, Image.new("RGB", (1, 1)))
    assert "million pixels" in refused(ask, png_of(20_000, 20_000))
    assert "Choose a picture" in refused(ask, image=None)
    assert len(ask()["arms"]) == 2  # and the next run is right


@pytest.mark.parametrize(
    "image", [{"path": "/etc/passwd"}, "/etc/passwd", {"path": "../../etc/passwd"}, {"path": None}, 5, {}]
)
def test_no_other_file_is_opened(ask, image: Any) -> None:
    assert "must be an uploaded file" in refused(ask, image=image)


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"question": ""}, "Type a question"),
        ({"question": " \n "}, "Type a question"),
        ({"question": "x" * 100_000}, "100,000 characters"),
        ({"question": "🔴 " * 1_900}, "shorten the question"),
        ({"question": 5}, "must be text"),
        ({"num_retained": -1}, "negative"),
        ({"num_retained": 1.5}, "between 0.0 and 1.0"),
        ({"num_retained": "many"}, "whole number"),
        ({"num_retained": 3, "num_skipped": 0}, "at least 1"),
        ({"retain": "best"}, "retain must be one of"),
        ({"retain": ["saliency"]}, "retain must be one of"),
        ({"text_attends_skipped": "yes"}, "true or false"),
        ({"max_new_tokens": 0}, "from 1 to 256"),
        ({"max_new_tokens": 100_000}, "from 1 to 256"),
        ({"max_new_tokens": "all"}, "from 1 to 256"),
        ({"repeats": 1_000}, "from 1 to 20"),
        ({"repeats": 2.5}, "from 1 to 20"),
        ({"method": "SlowV"}, "method must be one of own, SkipVision, FastV"),
        ({"method": ["FastV"]}, "method must be one of"),
        ({"method": "Dense"}, "method must be one of"),
        ({"method": "FastV", "budget": 40}, "budget must be a share from 0 to 1"),
        ({"method": "FastV", "budget": "half"}, "budget must be a share from 0 to 1"),
        ({"method": "FastV", "then_skip_vision": "yes"}, "true or false"),
        ({"budget": 0.5}, "are for other methods"),
        ({"then_skip_vision": True}, "are for other methods"),
    ],
)
def test_bad_questions_and_settings_get_a_sentence(ask, changes: dict[str, Any], says: str) -> None:
    assert says in refused(ask, **changes)


def test_counts_beyond_the_picture_keep_everything(ask) -> None:
    dense, skip = ask(num_retained=10**9, num_skipped=10**9)["arms"]
    assert skip["kv_bytes"] == dense["kv_bytes"] and skip["answer"] == dense["answer"]


@pytest.mark.parametrize(
    "path, status",
    [("monitoring", 403), ("gradio_api/runs", 404), ("gradio_api/file=/etc/passwd", 403), ("gradio_api/info", 200)],
)
def test_nothing_else_is_to_be_had(address: str, path: str, status: int) -> None:
    assert httpx.get(address + path).status_code == status


def test_examples_are_read_where_they_are(tmp_path: Path) -> None:
    assert load_examples(tmp_path) == []
    noise_picture(0).save(tmp_path / "one.png")
    (tmp_path / "examples.json").write_text(
        '[{"image": "one.png", "question": "What?"}, {"image": "missing.png", "question": "Where?"}]'
    )
    [example] = load_examples(tmp_path)
    assert example.question == "What?" and Path(example.image).is_file()


def test_examples_outlive_the_cleaning_of_uploads(page: gr.Blocks) -> None:
    [gallery] = [block for block in page.blocks.values() if isinstance(block, gr.Dataset)]
    [picture] = [block for block in page.blocks.values() if isinstance(block, gr.Image)]
    files = [sample[0]["path"] for sample in gallery.samples]
    picture.temp_files.update(files)  # as a click on each of them does
    delete_files_created_by_app(page, age=0)
    assert files and all(Path(file).is_file() for file in files)
