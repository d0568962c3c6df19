"""Pictures inside the page: no copy of a visitor's picture is left in a folder that the server serves."""

from __future__ import annotations

import base64
from io import BytesIO

from PIL import Image


def data_uri(picture: Image.Image) -> str:
    """A picture as an address: photos as WebP, drawings of few colors (mode P) as PNG, which is smaller and exact."""
    buffer = BytesIO()
    if picture.mode == "P":
        picture.save(buffer, "PNG")
        kind = "png"
    else:
        picture.save(buffer, "WEBP", quality=80, method=1)
        kind = "webp"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
