"""Results as JSON values and back, by the types of their fields. JSON, so that a file can do nothing but be read."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from skipcore import InputError
from skipcore.typed import Readers, typed

Record = TypeVar("Record")


def write_record(record: Any, file: str | Path) -> None:
    """Write a dataclass, such as a `Report` with its traces and pictures, as gzipped JSON, exact to the last bit; the
    same record gives the same bytes."""
    text = json.dumps(to_json(record), ensure_ascii=False, allow_nan=False)
    Path(file).write_bytes(gzip.compress(text.encode(), mtime=0))


def read_record(kind: type[Record], file: str | Path) -> Record:
    """Read what `write_record` wrote of a dataclass `kind`.

    Raises:
        InputError: there is no such file, or it does not hold such a record.
    """
    try:
        return typed(kind, json.loads(gzip.decompress(Path(file).read_bytes())), "the record", READERS)
    except (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, zlib.error) as error:
        raise InputError(f"{Path(file).name} holds no record that can be read ({error}): record it again.") from error


def to_json(value: Any, without: Sequence[str] = ()) -> Any:
    """Return a result as JSON values: dictionaries, lists and what they hold.

    Args:
        value: of plain values, CPU tensors, RGB pictures, and tuples, dictionaries and dataclasses of these.
        without: fields that are left out of every dataclass.
    """
    if is_dataclass(value):
        return {name: to_json(each, without) for name, each in vars(value).items() if name not in without}
    if isinstance(value, torch.Tensor):  # raw bytes, since JSON has no NaN and no float32
        array = value.cpu().numpy()
        return {"dtype": str(array.dtype), "shape": list(array.shape), "bytes": _text(array.tobytes())}
    if isinstance(value, Image.Image):
        buffer = io.BytesIO()
        value.convert("RGB").save(buffer, "PNG", optimize=True)
        return _text(buffer.getvalue())
    if isinstance(value, dict):
        return {name: to_json(each, without) for name, each in value.items()}
    return [to_json(each, without) for each in value] if isinstance(value, tuple | list) else value


def _tensor(value: dict[str, Any]) -> torch.Tensor:
    array = np.frombuffer(b64decode(value["bytes"], validate=True), value["dtype"]).reshape(value["shape"])
    return torch.from_numpy(array.copy())


def _picture(value: str) -> Image.Image:
    return Image.open(io.BytesIO(b64decode(value, validate=True))).convert("RGB")


READERS: Readers = {torch.Tensor: _tensor, Image.Image: _picture, float: lambda value: value}
"""A whole number stays one, also where a fraction may stand."""


def _text(content: bytes) -> str:
    return b64encode(content).decode()
