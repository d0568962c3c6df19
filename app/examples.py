"""The example pictures and questions of `assets/examples`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "assets" / "examples"


@dataclass(frozen=True)
class Example:
    """A picture file and a question about it."""

    image: str
    question: str


def load_examples(folder: Path = EXAMPLES) -> list[Example]:
    """The examples in the order of `examples.json`; none where there is no such file."""
    listing = folder / "examples.json"
    if not listing.is_file():
        return []
    return [
        Example(str(folder / entry["image"]), entry["question"])
        for entry in json.loads(listing.read_text(encoding="utf-8"))
        if (folder / entry["image"]).is_file()
    ]
