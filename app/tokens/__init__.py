"""What the page draws of single tokens. The browser's part is in `assets/js`."""

from app import ASSETS


def script(*names: str) -> str:
    """Files of `assets/js`, one after the other."""
    return "\n".join((ASSETS / "js" / f"{name}.js").read_text(encoding="utf-8") for name in names)
