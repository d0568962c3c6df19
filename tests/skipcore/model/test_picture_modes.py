"""What is seen of pictures in every mode that files and PIL know, transparency on white; pictures that are gone."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shared_models import noise_picture

from skipcore import InputError
from skipcore.model.inputs import open_picture

WHITE = (255, 255, 255)
GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6  # PNG's color types


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(depth: int, color_type: int, row: bytes, transparent: bytes = b"", palette: bytes = b"") -> bytes:
    """8 × 8 pixels, all rows alike."""
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, depth, color_type, 0, 0, 0))]
    parts += [chunk(name, data) for name, data in ((b"PLTE", palette), (b"tRNS", transparent)) if data]
    parts += [chunk(b"IDAT", zlib.compress((b"\0" + row) * 8)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def words(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


# the file, the first pixel, the last pixel
FILES = {
    "1 bit, transparent black": (png(1, GRAY, b"\x01", words(0)), WHITE, WHITE),
    "2 bits, transparent 1": (png(2, GRAY, b"\x40\x0a", words(1)), WHITE, (170, 170, 170)),
    "2 bits, transparent 3": (png(2, GRAY, b"\xc0\x05", words(3)), WHITE, (85, 85, 85)),
    "4 bits, transparent 1": (png(4, GRAY, b"\x10\0\0\x02", words(1)), WHITE, (34, 34, 34)),
    "8 bits, transparent 0": (png(8, GRAY, b"\0" + b"\x80" * 7, words(0)), WHITE, (128, 128, 128)),
    "16 bits": (png(16, GRAY, words(0, *[0x8000] * 7)), (0, 0, 0), (128, 128, 128)),
    "16 bits, transparent 0": (png(16, GRAY, words(0, *[0x8000] * 7), words(0)), WHITE, (128, 128, 128)),
    "16 bits, transparent 65535": (png(16, GRAY, words(0xFFFF, *[0x4000] * 7), words(0xFFFF)), WHITE, (64, 64, 64)),
    "RGB, transparent red": (png(8, RGB, b"\xff\0\0" + b"\x80\x40\0" * 7, words(255, 0, 0)), WHITE, (128, 64, 0)),
    "RGB of 16 bits": (png(16, RGB, words(65535, 0, 0, *[0x8000, 0x4000, 0] * 7)), (255, 0, 0), (128, 64, 0)),
    "RGB of 16 bits, transparent": (
        png(16, RGB, words(0x8001, 0x4000, 0, *[65535, 0x4000, 0] * 7), words(0x8001, 0x4000, 0)), WHITE, (255, 64, 0)
    ),
    "RGBA of 16 bits": (png(16, RGBA, words(65535, 0, 0, 0, *[0x8000, 0, 0, 65535] * 7)), WHITE, (128, 0, 0)),
    "gray of 16 bits with alpha": (png(16, GRAY_ALPHA, words(0, 0, *[0x8000, 65535] * 7)), WHITE, (128, 128, 128)),
    "palette, transparent red": (
        png(8, PALETTE, b"\0" + b"\1" * 7, b"\0", b"\xff\0\0\0\0\xff"), WHITE, (0, 0, 255)
    ),
    "palette, half transparent blue": (
        png(8, PALETTE, b"\0" + b"\1" * 7, b"\xff\x80", b"\xff\0\0\0\0\xff"), (255, 0, 0), (127, 127, 255)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_files(name: str) -> None:
    file, first, last = FILES[name]
    picture = open_picture(file)
    assert (picture.getpixel((0, 0)), picture.getpixel((7, 7))) == (first, last)
    assert picture.mode == "RGB" and not picture.info


CLEAR = Image.new("LA", (8, 8))
MODES = {
    "CMYK": (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), (255, 0, 0)),
    "YCbCr": (Image.new("YCbCr", (8, 8), (128, 128, 128)), (128, 128, 128)),
    "HSV": (Image.new("HSV", (8, 8), (0, 255, 255)), (255, 0, 0)),
    "RGBX": (Image.new("RGBX", (8, 8), (1, 2, 3, 4)), (1, 2, 3)),
    "I;16": (Image.new("I;16", (8, 8), 0x8000), (128, 128, 128)),
    "I;16L": (Image.new("I;16L", (8, 8), 0x8000), (128, 128, 128)),
    "I;16B": (Image.new("I;16B", (8, 8), 0x8000), (128, 128, 128)),
    "I": (Image.new("I", (8, 8), 0x4000), (64, 64, 64)),
    "F": (Image.new("F", (8, 8), 0.5), (128, 128, 128)),
    "F, not a number": (Image.new("F", (8, 8), float("nan")), (0, 0, 0)),
    "LA": (CLEAR, WHITE),
    "La": (CLEAR.convert("La"), WHITE),
    "PA": (Image.new("RGBA", (8, 8), (255, 0, 0, 0)).convert("PA"), WHITE),
    "RGBa": (Image.new("RGBA", (8, 8)).convert("RGBa"), WHITE),
    "RGBA, half": (Image.new("RGBA", (8, 8), (255, 0, 0, 128)), (255, 127, 127)),
}


@pytest.mark.parametrize("name", MODES)
def test_modes(name: str) -> None:
    picture, seen = MODES[name]
    before = dict(picture.info)
    assert open_picture(picture).getpixel((3, 3)) == seen
    assert picture.info == before


def test_gray_of_16_bits_looks_the_same_with_a_transparent_value() -> None:
    ramp = Image.fromarray((np.arange(64 * 64).reshape(64, 64) * 16).astype(np.uint16))
    plain, named = io.BytesIO(), io.BytesIO()
    ramp.save(plain, "PNG")
    ramp.save(named, "PNG", transparency=65535)
    seen = [np.asarray(open_picture(file.getvalue())) for file in (plain, named)]
    assert np.array_equal(*seen) and seen[0][..., 0].mean() == pytest.approx(127, abs=1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    noise_picture(0, 400, 400).save(tmp_path / "picture.jpg")
    return tmp_path / "picture.jpg"


def left(file: Path) -> Image.Image:
    with Image.open(file) as picture:
        return picture


def closed(file: Path) -> Image.Image:
    picture = Image.open(file)
    picture.close()
    return picture


def closed_after_loading(file: Path) -> Image.Image:
    picture = Image.open(file)
    picture.load()
    picture.close()
    return picture


def closed_beneath(file: Path) -> Image.Image:
    opened = io.BytesIO(file.read_bytes())
    picture = Image.open(opened)
    opened.close()
    return picture


def cut(file: Path) -> Image.Image:
    picture = Image.open(file)
    file.write_bytes(file.read_bytes()[:700])
    return picture


@pytest.mark.parametrize("made", [left, closed, closed_after_loading, closed_beneath, cut])
def test_pictures_that_are_gone_get_a_sentence(file: Path, made) -> None:
    with pytest.raises(InputError, match="closed or deleted"):
        open_picture(made(file))


def test_addresses(file: Path) -> None:
    with pytest.raises(InputError, match="not fetched"):
        open_picture("https://example.org/picture.png")
    content = base64.b64encode(file.read_bytes()).decode()
    assert open_picture(f"data:image/jpeg;base64,{content}").size == (400, 400)
    for address, says in (
        ("data:image/jpeg;base64,%%%", "base64"),
        (f"data:image/jpeg,{content}", "base64"),
        ("data:,", "base64"),
        ("data:image/png;base64,", "not a picture"),
    ):
        with pytest.raises(InputError, match=says):
            open_picture(address)
