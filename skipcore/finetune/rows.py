"""Data sets of conversations about pictures, in the forms that people have them, as rows of one form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skipcore.errors import InputError
from skipcore.model.inputs import ImageLike

MARK = "<image>"
"""What stands for a picture within a text."""
SPEAKERS = {"human": "user", "gpt": "assistant"}
"""The roles of LLaVA's JSON; others are called what they are."""
TABLES = {".parquet": "parquet", ".csv": "csv"}
FORMS = 'conversations ("from", "value"), messages ("role", "content"), prompt with completion, or question with answer'


@dataclass(frozen=True)
class Row:
    """One conversation.

    Attributes:
        messages: {"role": "system", "user" or "assistant", "content": [{"type": "text", "text": …} or
            {"type": "image"}, …]}.
        images: one for each part that is an image, in order: what `open_picture` opens.
    """

    messages: tuple[dict[str, Any], ...]
    images: tuple[ImageLike, ...] = ()

    @property
    def answers(self) -> list[str]:
        """What the assistant says, a text for each of its messages."""
        return [text_of(message) for message in self.messages if message["role"] == "assistant"]


def text_of(message: Mapping[str, Any]) -> str:
    """The texts of a message's parts, one after the other."""
    return "".join(part.get("text", "") for part in message["content"])


class Rows(Sequence[Row]):
    """The rows of a data set, read when they are asked for.

    Attributes:
        raw: as the data set has them.
        folder: what paths of pictures are relative to.
        numbers: which of them, counted from 0.
        name: of the data set, in messages.
    """

    def __init__(self, raw: Sequence[Any], folder: Path, name: str, numbers: Sequence[int] | None = None) -> None:
        self.raw, self.folder, self.name = raw, folder, name
        self.numbers = range(len(raw)) if numbers is None else numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Any) -> Any:
        """One row; Trainer and PyTorch ask for nothing else.

        Raises:
            InputError: the row is of no known form, or its placeholders and pictures do not match.
        """
        return row_of(self.raw[self.numbers[index]], self.folder)

    def only(self, indices: Sequence[int]) -> Rows:
        """The rows of some indices."""
        return Rows(self.raw, self.folder, self.name, [self.numbers[index] for index in indices])


def read_data(source: str | Path | Sequence[Any], images: str | Path | None = None, split: str = "train") -> Rows:
    """Find the rows of a data set. Only a Hub id uses the network.

    Args:
        source: a list of rows; a .json file (LLaVA's form, or any list of rows) or .jsonl file, .parquet or .csv; a
            folder that `datasets` saved, or one of pictures with a metadata file; or a Hub id.
        images: what paths of pictures are relative to; default: the folder of the file.
        split: of data sets that have several.

    Raises:
        InputError: there is no such data set, it cannot be read, or it has no rows.
    """
    if not isinstance(source, str | Path):
        return _some(Rows(source, Path(images or "."), "the data"))
    path = Path(source)
    folder = Path(images) if images is not None else path.parent if path.is_file() else path
    if images is not None and not folder.is_dir():
        raise InputError(f"There is no folder {str(images)!r} with pictures.")
    try:
        raw = _raw(path, split)
    except InputError:
        raise
    except Exception as error:  # datasets raises its own, of many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"The data {str(source)!r} cannot be read ({reason}).") from error
    return _some(Rows(raw, folder, str(source)))


def _some(rows: Rows) -> Rows:
    if not len(rows):
        raise InputError(f"There is no row in {rows.name}.")
    return rows


def _raw(path: Path, split: str) -> Sequence[Any]:
    if path.suffix in (".json", ".jsonl") and path.is_file():
        return _json(path)
    try:
        import datasets
    except ImportError as error:
        raise InputError("This data needs another package: pip install datasets") from error
    if path.is_file():
        if path.suffix not in TABLES:
            raise InputError(f"{str(path)!r} must end in one of .json, .jsonl, {', '.join(TABLES)}.")
        return datasets.load_dataset(TABLES[path.suffix], data_files=str(path), split="train")
    if path.is_dir() and any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
        saved = datasets.load_from_disk(str(path))
        return _split(saved, split) if isinstance(saved, datasets.DatasetDict) else saved
    if path.is_dir():
        if any(path.rglob("metadata.*")):
            return datasets.load_dataset("imagefolder", data_dir=str(path), split=split)
        return datasets.load_dataset(str(path), split=split)
    if path.suffix in (".json", ".jsonl", *TABLES) or path.is_absolute() or str(path).count("/") > 1:
        raise InputError(f"There is no file {str(path)!r}.")
    return datasets.load_dataset(str(path), split=split)


def _split(several: Mapping[str, Any], split: str) -> Any:
    if split not in several:
        raise InputError(f"There is no split {split!r}: take one of {', '.join(several)}.")
    return several[split]


def _json(path: Path) -> list[Any]:
    """A list, or a row in each line. Read by Python: rows may differ in form, which Arrow does not allow."""
    text = path.read_text(encoding="utf-8")
    if text.lstrip().startswith("[") and path.suffix == ".json":
        return json.loads(text)
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise InputError(f"Line {number} of {path} is not JSON ({error}).") from error
    return rows


def row_of(raw: Any, folder: Path) -> Row:
    """A row of any known form.

    Placeholders `<image>` in texts of system and user say where the pictures stand; without any, they stand before the
    user's first text. An assistant's text shows no pictures.

    Raises:
        InputError: it is of no known form, or its placeholders and pictures do not match.
    """
    if isinstance(raw, Row):
        return raw
    if not isinstance(raw, Mapping):
        raise InputError(f"A row must be an object with {FORMS}.")
    found: list[Any] = []
    messages = [_message(message, found) for message in _turns(raw)]
    images = _images(raw)
    inline = [image for image in found if image is not None]
    if inline and len(inline) != len(found):
        raise InputError("Some pictures stand in the messages and others do not: keep all in one place.")
    images = images or inline
    if images and not found:
        first = next((message for message in messages if message["role"] == "user"), None)
        if first is not None:
            first["content"] = [*({"type": "image"} for _ in images), *first["content"]]
            found = images
    if len(found) != len(images):
        raise InputError(f"The texts have {len(found)} placeholders {MARK}, but there are {len(images)} pictures.")
    return Row(tuple(messages), tuple(_source(image, folder) for image in images))


def _turns(raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The messages of a row, each with "role" and "content"."""
    if isinstance(turns := raw.get("conversations") or raw.get("messages"), Sequence) and not isinstance(turns, str):
        if not all(isinstance(turn, Mapping) for turn in turns):
            raise InputError("Each message must be an object.")
        return [_turn(turn) for turn in turns]
    for asked, answered in (("prompt", "completion"), ("question", "answer")):
        if raw.get(asked) is not None and raw.get(answered) is not None:
            both = (raw[asked], "user"), (raw[answered], "assistant")
            return [
                turn
                for said, role in both
                for turn in ([{"role": role, "content": said}] if isinstance(said, str) else said)
            ]
    raise InputError(f"A row must have {FORMS}; this one has {', '.join(map(str, raw)) or 'nothing'}.")


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    """A turn of a conversation, LLaVA's or the usual one, with "role" and "content"."""
    speaker = str(turn.get("role") or turn.get("from"))
    return {"role": SPEAKERS.get(speaker, speaker), "content": turn.get("content", turn.get("value"))}


def _message(message: Mapping[str, Any], found: list[Any]) -> dict[str, Any]:
    """A message with parts; each picture in it is added to `found`, None for a placeholder."""
    role, content = message.get("role"), message.get("content")
    if role not in ("system", "user", "assistant"):
        raise InputError(f'The role of a message must be "system", "user" or "assistant", not {role!r}.')
    if content is None or not isinstance(content, str | Sequence):
        raise InputError(f"The content of a message ({role}) must be a text or a list of parts.")
    parts: list[dict[str, Any]] = []
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts = [part["text"]] if role == "assistant" else part["text"].split(MARK)
            for number, text in enumerate(texts):
                if number:
                    parts.append({"type": "image"})
                    found.append(None)
                if text.strip() or len(texts) == 1:
                    parts.append({"type": "text", "text": text.strip("\n") if len(texts) > 1 else text})
        elif kind in ("image", "image_url"):
            parts.append({"type": "image"})
            given = (part.get(name) for name in ("image", "path", "url", "image_url"))
            found.append(next((each for each in given if each is not None), None))
        else:
            raise InputError(f"A part of a message must be a text or an image, not {kind or part!r}.")
    return {"role": role, "content": parts}


def _images(raw: Mapping[str, Any]) -> list[Any]:
    given = raw.get("images") if raw.get("images") is not None else raw.get("image")
    if given is None:
        return []
    return list(given) if isinstance(given, list | tuple) else [given]


def _source(image: Any, folder: Path) -> Any:
    """What `open_picture` opens: paths from the folder on; of Arrow's {"bytes", "path"}, the bytes."""
    if isinstance(image, Mapping):
        if image.get("bytes") is not None:
            return image["bytes"]
        image = image.get("path") or image.get("url")
    if isinstance(image, str) and not image.startswith("data:"):
        return folder / image.removeprefix("file://")
    return image


def split_off(rows: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    """Rows to train on, and a random share of them to evaluate on, at least one.

    Raises:
        InputError: nothing is left to train on.
    """
    count = max(1, round(share * len(rows)))
    if count >= len(rows):
        raise InputError(f"{rows.name} has {len(rows)} rows: too few to evaluate on {count} of them.")
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    return rows.only(sorted(order[count:])), rows.only(sorted(order[:count]))
