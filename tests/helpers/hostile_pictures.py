"""Picture files that nobody means well with, and odd ones that are right, each with what is said about it."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from shared_models import noise_picture

ANSWERED = ""
NOT_A_PICTURE, DAMAGED, TOO_LARGE, TOO_SMALL = "not a picture", "damaged or cut short", "at most", "only"


@dataclass(frozen=True)
class File:
    """An uploaded file.

    Attributes:
        says: a part of the sentence about it; empty where it is answered.
    """

    content: bytes
    says: str = ANSWERED
    name: str = "picture.png"
    mime: str = "image/png"


def encoded(picture: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A PNG that claims this size, gray, with chunks of our own instead of its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width & 0xFFFFFFFF, height & 0xFFFFFFFF, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def exif(**tags: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = tags["orientation"]
    return found


def frames(count: int, form: str) -> bytes:
    pictures = [Image.new("RGB", (24, 24), (number % 256, 90, 30)) for number in range(count)]
    return encoded(pictures[0], form, save_all=True, append_images=pictures[1:])


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.txt", b"0" * 10**6)
    return buffer.getvalue()


def described(**texts: str) -> bytes:
    info = PngInfo()
    for name, text in texts.items():
        info.add_text(name, text, zip=True)
    return encoded(PICTURE, pnginfo=info)


def floats(value: float) -> bytes:
    array = np.full((24, 24), 0.5, np.float32)
    array[0, 0] = value
    return encoded(Image.fromarray(array), "TIFF")


def tiff_of_itself() -> bytes:
    """Its only directory says that the next one is itself."""
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 0) + struct.pack("<I", 8)


PICTURE = noise_picture(0)
PNG, JPEG, GIF = encoded(PICTURE), encoded(PICTURE, "JPEG"), encoded(PICTURE, "GIF")
WEBP, BMP, TIFF = encoded(PICTURE, "WEBP"), encoded(PICTURE, "BMP"), encoded(PICTURE, "TIFF")
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><script>alert(1)</script></svg>"
HTML = b"<!doctype html><script>alert(document.domain)</script>"
ZEROS = zlib.compress(b"\0" * 8_000_000)

_makers: dict[str, Callable[[], File]] = {
    "empty": lambda: File(b"", NOT_A_PICTURE),
    "text": lambda: File(b"I am not a picture", NOT_A_PICTURE),
    "noise": lambda: File(random.Random(0).randbytes(5000), NOT_A_PICTURE),
    "HTML": lambda: File(HTML, NOT_A_PICTURE, "page.html", "text/html"),
    "HTML called PNG": lambda: File(HTML, NOT_A_PICTURE),
    "SVG": lambda: File(SVG, NOT_A_PICTURE, "drawing.svg", "image/svg+xml"),
    "SVG called PNG": lambda: File(SVG, NOT_A_PICTURE),
    "SVG of outside things": lambda: File(b"<svg><image href='file:///etc/passwd'/></svg>", NOT_A_PICTURE, "x.svg"),
    "XML with entities": lambda: File(b"<!DOCTYPE x [<!ENTITY a 'aaaa'>]><x>&a;</x>", NOT_A_PICTURE),
    "PDF": lambda: File(b"%PDF-1.7\n1 0 obj <<>> endobj\n", NOT_A_PICTURE, "x.pdf", "application/pdf"),
    "PostScript": lambda: File(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", NOT_A_PICTURE, "x.eps"),
    "zip": lambda: File(archive(), NOT_A_PICTURE, "x.zip", "application/zip"),
    "pickle": lambda: File(b"\x80\x04cos\nsystem\n(S'true'\ntR.", NOT_A_PICTURE, "x.pkl"),
    "program": lambda: File(b"\x7fELF\x02\x01\x01" + b"\0" * 100, NOT_A_PICTURE, "x"),
    "ICO": lambda: File(encoded(PICTURE, "ICO"), NOT_A_PICTURE, "x.ico"),
    "PPM": lambda: File(encoded(PICTURE, "PPM"), NOT_A_PICTURE, "x.ppm"),
    "TGA": lambda: File(encoded(PICTURE, "TGA"), NOT_A_PICTURE, "x.tga"),
    "PNG signature alone": lambda: File(PNG[:8], NOT_A_PICTURE),
    "GIF that is a script": lambda: File(b"GIF89a/*\0\0\0\0*/=1;alert(1)//", NOT_A_PICTURE, "x.gif"),
    "GIF header alone": lambda: File(GIF[:13], NOT_A_PICTURE, "x.gif"),
    "WebP header alone": lambda: File(b"RIFF\x10\0\0\0WEBPVP8 ", NOT_A_PICTURE, "x.webp"),
    "JPEG of two marks": lambda: File(b"\xff\xd8\xff\xd9", NOT_A_PICTURE, "x.jpg"),
    "TIFF of itself": lambda: File(tiff_of_itself(), NOT_A_PICTURE, "x.tiff"),
    "PNG cut": lambda: File(PNG[: len(PNG) // 2], DAMAGED),
    "JPEG cut": lambda: File(JPEG[: len(JPEG) // 2], DAMAGED, "x.jpg", "image/jpeg"),
    "GIF cut": lambda: File(GIF[: len(GIF) // 2], DAMAGED, "x.gif"),
    "WebP cut": lambda: File(WEBP[: len(WEBP) // 2], "picture", "x.webp"),
    "BMP cut": lambda: File(BMP[: len(BMP) // 2], DAMAGED, "x.bmp"),
    "TIFF cut": lambda: File(TIFF[: len(TIFF) // 2], "picture", "x.tiff"),
    "PNG without pixels": lambda: File(png(24, 24), DAMAGED),
    "PNG of bad pixels": lambda: File(png(24, 24, chunk(b"IDAT", b"not zlib")), DAMAGED),
    "PNG of too few pixels": lambda: File(png(24, 24, chunk(b"IDAT", zlib.compress(b"\0"))), DAMAGED),
    "PNG of a bad checksum": lambda: File(PNG[:60] + b"\0\0\0\0" + PNG[64:], DAMAGED),
    "PNG of no size": lambda: File(png(0, 0), "picture"),
    "PNG of 20,000 × 20,000": lambda: File(png(20_000, 20_000, chunk(b"IDAT", b"")), TOO_LARGE),
    "PNG of the largest size": lambda: File(png(2**31 - 1, 2**31 - 1), TOO_LARGE),
    "PNG of a negative size": lambda: File(png(-1, -1), TOO_LARGE),
    "decompression bomb": lambda: File(png(12_000, 12_000, chunk(b"IDAT", ZEROS)), TOO_LARGE),
    "decompression bomb within a small picture": lambda: File(png(24, 24, chunk(b"IDAT", ZEROS))),
    "bomb of text": lambda: File(png(24, 24, chunk(b"zTXt", b"a\0\0" + ZEROS)), "picture"),
    "bomb of a profile": lambda: File(png(24, 24, chunk(b"iCCP", b"a\0\0" + ZEROS)), "picture"),
    "BMP of a huge size": lambda: File(BMP[:18] + struct.pack("<ii", 2**30, 2**30) + BMP[26:], TOO_LARGE, "x.bmp"),
    "GIF of a huge screen": lambda: File(b"GIF89a\xff\xff\xff\xff\0\0\0" + GIF[13:], TOO_LARGE, "x.gif"),
    "1 × 1": lambda: File(encoded(Image.new("RGB", (1, 1))), TOO_SMALL),
    "3 × 3": lambda: File(encoded(Image.new("RGB", (3, 3))), TOO_SMALL),
    "100,000 × 1": lambda: File(encoded(Image.new("L", (100_000, 1))), TOO_SMALL),
    "1 × 100,000": lambda: File(encoded(Image.new("L", (1, 100_000))), TOO_SMALL),
    "20,000 × 8": lambda: File(encoded(Image.new("L", (20_000, 8))), TOO_LARGE),
    "larger than any file may be": lambda: File(b"\x89PNG\r\n\x1a\n" + bytes(33 * 2**20), "413"),
    "10,000 × 5": lambda: File(encoded(Image.new("L", (10_000, 5)))),
    "5 × 10,000": lambda: File(encoded(Image.new("L", (5, 10_000)))),
    "GIF of 500 frames": lambda: File(frames(500, "GIF"), name="x.gif"),
    "WebP of 50 frames": lambda: File(frames(50, "WEBP"), name="x.webp"),
    "PNG of 50 frames": lambda: File(frames(50, "PNG")),
    "TIFF of 200 pages": lambda: File(frames(200, "TIFF"), name="x.tiff"),
    "PNG and zip": lambda: File(PNG + archive()),
    "PNG and HTML": lambda: File(PNG + HTML, name="x.html", mime="text/html"),
    "JPEG with a script": lambda: File(encoded(PICTURE, "JPEG", comment=b"<?php system('id'); ?>"), name="x.php"),
    "PNG called SVG": lambda: File(PNG, name="x.svg", mime="image/svg+xml"),
    "PNG called a program": lambda: File(PNG, name="x.exe", mime="application/x-msdownload"),
    "PNG of no kind": lambda: File(PNG, name="x", mime="nonsense"),
    "name of a parent": lambda: File(PNG, name="../../../../tmp/evil.png"),
    "name of a drive": lambda: File(PNG, name="C:\\windows\\system32\\evil.png"),
    "name of HTML": lambda: File(PNG, name="<img src=x onerror=alert(1)>.png"),
    "name from right to left": lambda: File(PNG, name="\u202egnp.exe"),
    "name of 300 letters": lambda: File(PNG, name="x" * 300 + ".png"),
    "name of dots": lambda: File(PNG, name="..."),
    "turned": lambda: File(encoded(PICTURE, "JPEG", exif=exif(orientation=6)), name="x.jpg"),
    "turned nowhere": lambda: File(encoded(PICTURE, "JPEG", exif=exif(orientation=99)), name="x.jpg"),
    "EXIF of noise": lambda: File(encoded(PICTURE, "JPEG", exif=b"Exif\0\0" + random.Random(1).randbytes(900))),
    "EXIF of 60 KB": lambda: File(encoded(PICTURE, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + bytes(60_000))),
    "profile of noise": lambda: File(encoded(PICTURE, "PNG", icc_profile=random.Random(2).randbytes(900))),
    "text of scripts": lambda: File(described(Title="<script>alert(1)</script>", Software="/etc/passwd")),
    "CMYK": lambda: File(encoded(PICTURE.convert("CMYK"), "JPEG"), name="x.jpg"),
    "CMYK TIFF": lambda: File(encoded(PICTURE.convert("CMYK"), "TIFF"), name="x.tiff"),
    "LAB": lambda: File(encoded(Image.new("LAB", (24, 24)), "TIFF"), name="x.tiff"),
    "16 bits": lambda: File(encoded(Image.fromarray(np.full((24, 24), 40_000, np.uint16)))),
    "32 bits": lambda: File(encoded(Image.new("I", (24, 24), 2**31 - 1), "TIFF"), name="x.tiff"),
    "not a number": lambda: File(floats(float("nan")), name="x.tiff"),
    "infinite": lambda: File(floats(float("inf")), name="x.tiff"),
    "minus infinite": lambda: File(floats(float("-inf")), name="x.tiff"),
    "palette": lambda: File(encoded(PICTURE.convert("P"))),
    "palette of one color": lambda: File(encoded(Image.new("P", (24, 24)))),
    "palette with a transparent color": lambda: File(encoded(PICTURE.convert("P"), "PNG", transparency=3)),
    "one bit": lambda: File(encoded(PICTURE.convert("1"))),
    "transparent": lambda: File(encoded(Image.new("RGBA", (24, 24), (0, 0, 0, 0)))),
    "gray and transparent": lambda: File(encoded(Image.new("LA", (24, 24), (9, 0)))),
}
PICTURES = tuple(_makers)


def picture_file(name: str) -> File:
    """One of `PICTURES`."""
    return _makers[name]()
