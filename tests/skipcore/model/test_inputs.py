"""Pictures and questions as users hand them in."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shared_models import noise_picture
from tiny_families import tiny_model

from skipcore import InputError, Vlm
from skipcore.model.inputs import check_question, open_picture


def encoded(picture: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def animated() -> bytes:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue", "green")]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° to stand upright
    return encoded(Image.new("RGB", (40, 20), "red"), "JPEG", exif=exif)


def transparent() -> bytes:
    return encoded(Image.new("RGBA", (20, 20), (255, 0, 0, 0)))


GOOD = {
    "PNG": (encoded(noise_picture(0)), (60, 40)),
    "JPEG in CMYK": (encoded(Image.new("CMYK", (20, 20)), "JPEG"), (20, 20)),
    "animated GIF": (animated(), (20, 20)),
    "turned by EXIF": (rotated(), (20, 40)),
    "transparent": (transparent(), (20, 20)),
    "palette": (encoded(Image.new("P", (20, 20))), (20, 20)),
    "one bit": (encoded(Image.new("1", (20, 20), 1)), (20, 20)),
    "16-bit gray": (encoded(Image.fromarray(np.full((20, 20), 40000, np.uint16))), (20, 20)),
    "gray and alpha": (encoded(Image.new("LA", (20, 20))), (20, 20)),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_pictures(name: str) -> None:
    data, size = GOOD[name]
    picture = open_picture(data)
    assert picture.mode == "RGB"
    assert picture.size == size


def test_what_is_seen() -> None:
    assert open_picture(transparent()).getpixel((0, 0)) == (255, 255, 255)
    assert open_picture(animated()).getpixel((0, 0)) == (255, 0, 0)
    gray = open_picture(GOOD["16-bit gray"][0]).getpixel((0, 0))
    assert gray == (156, 156, 156)
    assert open_picture(np.zeros((8, 9), np.uint8)).size == (9, 8)
    for mode, value in (("F", 0.5), ("I", 128), ("F", 128.0)):
        assert open_picture(Image.new(mode, (8, 8), value)).getpixel((0, 0))[0] == 128
    dark = Image.fromarray(np.array([[0, 65535]] * 8, np.uint16).repeat(4, axis=1))
    assert open_picture(dark).getpixel((7, 0)) == (255, 255, 255)


BAD = {
    "nothing": (None, "Choose a picture"),
    "not a picture": (b"hello, this is text", "not a picture"),
    "empty": (b"", "not a picture"),
    "cut short": (encoded(noise_picture(0))[:200], "damaged"),
    "1 × 1": (encoded(Image.new("RGB", (1, 1))), "at least"),
    "20,000 × 20,000": (encoded(Image.new("1", (20_000, 20_000))), "at most"),
    "very long": (encoded(Image.new("1", (20_000, 8))), "on a side"),
    "missing file": ("/nowhere/picture.png", "no picture file"),
    "folder": (Path("/tmp"), "no picture file"),
    "endless name": ("x" * 5000, "no picture file"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
    "number": (3, "must be"),
    "float array": (np.zeros((8, 8, 3)), "uint8"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_pictures_get_a_sentence(name: str) -> None:
    source, says = BAD[name]
    with pytest.raises(InputError, match=says) as error:
        open_picture(source)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("question", ["", "   \n", "x" * 100_000, "half \ud83e", None, 3])
def test_bad_questions_get_a_sentence(question) -> None:
    with pytest.raises(InputError):
        check_question(question)


@pytest.mark.parametrize("question", ["what? 🦊🦊", "Ünïcödé", "一張圖", "\x00\x01", "a" * 400])
def test_any_text_is_a_question(tiny: Vlm, picture, question: str) -> None:
    prepared = tiny.prepare(picture, question)
    assert question.strip() in tiny.processor.tokenizer.decode(prepared.inputs["input_ids"][0])
    assert [[tile.grid for tile in own] for own in prepared.tiles] == [[(8, 8)]]


def test_a_question_cannot_smuggle_special_tokens(tiny: Vlm, picture) -> None:
    with pytest.raises(InputError, match="special meaning"):
        tiny.prepare(picture, "what is <image> here?")


def test_a_question_that_does_not_fit_the_model(scenes: Vlm, picture) -> None:
    with pytest.raises(InputError, match="at most"):
        scenes.prepare(picture, "🦊" * 999, max_new_tokens=64)


def test_what_the_model_sees_of_a_picture(scenes: Vlm) -> None:
    """The built-in model squeezes the whole picture to a square; LLaVA's own processor crops the middle of it."""
    red = Image.new("RGB", (100, 50), (200, 30, 10))
    for vlm, box in ((scenes, (0.0, 0.0, 1.0, 1.0)), (tiny_model("LLaVA"), (0.25, 0.0, 0.75, 1.0))):
        prepared = vlm.prepare(red, "what?")
        assert prepared.pictures[0].size == (100, 50)
        assert [[tile.box for tile in own] for own in prepared.tiles] == [[box]]
