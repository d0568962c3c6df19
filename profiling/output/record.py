"""Measured records as files and back, exact to the last bit. JSON, so that a file can do nothing but be read."""

from __future__ import annotations

import base64
import gzip
import io
import json
import zlib
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from PIL import Image

from skipcore import InputError

Record = TypeVar("Record")


def write_record(record: Any, file: str | Path) -> None:
    """Write a dataclass, such as a `Report` with its traces and pictures, as gzipped JSON; the same record gives the
    same bytes.

    Args:
        record: of plain values, CPU tensors, RGB pictures, and tuples, dictionaries and dataclasses of these.
    """
    text = json.dumps(_to_json(record), ensure_ascii=False, allow_nan=False)
    Path(file).write_bytes(gzip.compress(text.encode(), mtime=0))


def read_record(kind: type[Record], file: str | Path) -> Record:
    """What `write_record` wrote.

    Args:
        kind: the dataclass that was written.

    Raises:
        InputError: there is no such file, or it does not hold such a record.
    """
    try:
        return _from_json(kind, json.loads(gzip.decompress(Path(file).read_bytes())))
    except (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, zlib.error) as error:
        raise InputError(f"{Path(file).name} holds no record that can be read ({error}): record it anew.") from error


def _to_json(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, torch.Tensor):  # raw bytes, since JSON has no NaN and no float32
        array = value.cpu().numpy()
        return {"dtype": str(array.dtype), "shape": list(array.shape), "bytes": _text(array.tobytes())}
    if isinstance(value, Image.Image):
        buffer = io.BytesIO()
        value.convert("RGB").save(buffer, "PNG", optimize=True)
        return _text(buffer.getvalue())
    if isinstance(value, dict):
        return {name: _to_json(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [_to_json(each) for each in value]
    return value


def _from_json(kind: Any, value: Any) -> Any:
    """Read a value by the type that its field declares."""
    if isinstance(kind, type) and is_dataclass(kind):
        declared = get_type_hints(kind)
        return kind(**{name: _from_json(declared[name], each) for name, each in value.items()})
    if kind is torch.Tensor:
        array = np.frombuffer(_bytes(value["bytes"]), value["dtype"]).reshape(value["shape"])
        return torch.from_numpy(array.copy())
    if kind is Image.Image:
        return Image.open(io.BytesIO(_bytes(value))).convert("RGB")
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        (only,) = (each for each in inner if each is not NoneType)
        return None if value is None else _from_json(only, value)
    if origin is tuple:
        kinds = inner[:1] * len(value) if inner[1:] == (...,) else inner
        return tuple(_from_json(each, item) for each, item in zip(kinds, value, strict=True))
    if origin is dict:
        return {name: _from_json(inner[1], each) for name, each in value.items()}
    return value


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
