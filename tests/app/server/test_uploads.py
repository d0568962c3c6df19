"""Uploads that are shrunk: which, to what, and that it is said beside the picture and in the report."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from PIL import Image

from app.measure.over_http import Visitor
from app.page import build_page
from app.server.launch import start
from app.server.uploads import LONGEST_SIDE, SHORTEST_SIDE, shrunk, size_note, uploaded_picture
from skipcore import Vlm
from skipcore.model.inputs import MAX_PIXELS, MAX_SIDE, MIN_SIDE

# Gradio 6.31 counts its events in ways that pandas 3 deprecates
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing")

SIZES = {
    (640, 480): (640, 480),
    (2048, 2048): (2048, 2048),
    (4000, 3000): (2048, 1536),
    (3000, 4000): (1536, 2048),
    (8000, 8000): (2048, 2048),
    (16_384, 3_900): (2048, 488),
    (16_384, 1_000): (4194, 256),
    (16_384, 82): (16_384, 82),
    (82, 16_384): (82, 16_384),
    (16_384, 4): (16_384, 4),
}


@pytest.fixture(scope="module")
def visitor(tiny: Vlm) -> Iterator[Visitor]:
    page = build_page(tiny)
    visitor = Visitor(start(page, host="127.0.0.1"))
    yield visitor
    visitor.close()
    page.close(verbose=False)


def jpeg(width: int, height: int, orientation: int = 1) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (width, height), "#9cc4e4").save(file, "JPEG", exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("size", SIZES)
def test_sizes(size: tuple[int, int]) -> None:
    assert shrunk(size) == SIZES[size]


def test_no_shrinking_makes_a_picture_that_models_refuse() -> None:
    for long in range(LONGEST_SIDE, MAX_SIDE + 1, 97):
        for short in {MIN_SIDE, 82, 255, 256, 257, 1_001, long} & set(range(MAX_PIXELS // long + 1)):
            width, height = shrunk((long, short))
            assert min(width, height) >= min(short, SHORTEST_SIDE) and width * height <= LONGEST_SIDE**2 + long
            assert width / height == pytest.approx(long / short, rel=0.5 / SHORTEST_SIDE + 1e-3)
            assert width / height <= max(200, long / short)


@pytest.mark.parametrize("orientation", [1, 6])
def test_it_is_said_beside_the_picture_and_in_the_report(visitor: Visitor, orientation: int) -> None:
    upload = visitor.upload(jpeg(4000, 3000, orientation), "photo.jpg", "image/jpeg")
    used, given = ([2048, 1536], "4,000 × 3,000") if orientation == 1 else ([1536, 2048], "3,000 × 4,000")
    said = f"The model gets {used[0]:,} × {used[1]:,} pixels of this picture; your file has {given}."
    *_, shown = visitor.events("_shown_size", [upload])
    assert said in str(shown.data) and size_note(upload) == said
    report = visitor.compare(upload, "what is it?", max_new_tokens=1)
    assert report["notes"] == [said] and report["picture_sizes"] == [used]
    assert list(uploaded_picture(upload).size) == used
    *_, last = visitor.ask(upload, "what is it?", longest_answer_in_tokens=1, timed_runs_of_each=1)
    assert said in visitor.shown(last, "headline")


def test_nothing_is_said_of_other_pictures(visitor: Visitor) -> None:
    small = visitor.upload(jpeg(400, 300), "photo.jpg", "image/jpeg")
    assert visitor.compare(small, "what is it?", max_new_tokens=1)["notes"] == []
    for upload in (small, None, {"path": "/etc/passwd"}, visitor.upload(b"no picture", "photo.jpg", "image/jpeg")):
        assert size_note(upload) == ""
