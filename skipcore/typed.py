"""Plain values, as JSON and TOML hold them, as the dataclasses that declare them: every name and type is checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from skipcore.errors import InputError

Kind = TypeVar("Kind")
Readers = Mapping[Any, Callable[[Any], Any]]
NO_READERS: Readers = MappingProxyType({})


def read_json(kind: type[Kind], file: Path, what: str) -> Kind:
    """A dataclass as `asdict` gave it to a JSON file.

    Args:
        what: the file is, and how it is made again, for the error: "the record of a race: `…` writes it".

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    try:
        return typed(kind, json.loads(file.read_text(encoding="utf-8")), file.name)
    except (OSError, ValueError) as error:
        raise InputError(f"{file.name} cannot be read as {what} ({error}).") from error


def typed(kind: type[Kind], value: Any, where: str, readers: Readers = NO_READERS) -> Kind:
    """A value as its type says.

    Args:
        kind: a dataclass, a plain type, `Any`, or tuples, dictionaries and alternatives to None of these.
        value: of dictionaries, lists and plain values.
        where: it stands, for the errors.
        readers: make values of further types.

    Raises:
        InputError: a name is missing or unknown, or a value is of another type; says where.
    """
    return _value(kind, value, where, readers)


def _value(kind: Any, value: Any, where: str, readers: Readers) -> Any:
    if kind in readers:
        return readers[kind](value)
    if is_dataclass(kind):
        return _record(kind, value, where, readers)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        (only,) = (each for each in inner if each is not NoneType)
        return None if value is None else _value(only, value, where, readers)
    if origin is Literal:
        if value not in inner:
            raise InputError(f"{where} must be one of {', '.join(map(str, inner))}, not {value!r}.")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise InputError(f"{where} must be a list, not {value!r}.")
        kinds = inner[:1] * len(value) if inner[1:] == (...,) else inner
        if len(kinds) != len(value):
            raise InputError(f"{where} must have {len(kinds)} values.")
        pairs = enumerate(zip(kinds, value, strict=True), start=1)
        return tuple(_value(each, item, f"{where} {number}", readers) for number, (each, item) in pairs)
    if origin is not None:
        if not isinstance(value, dict):
            raise InputError(f"{where} must be a table, not {value!r}.")
        return {name: _value(inner[1], each, f"{where}, {name}", readers) for name, each in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is not Any and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise InputError(f"{where} must be of type {kind.__name__}, not {value!r}.")
    return value


def _record(kind: Any, values: Any, where: str, readers: Readers) -> Any:
    if not isinstance(values, dict):
        raise InputError(f"{where} must be a table, not {values!r}.")
    hints = get_type_hints(kind)
    known: dict[str, Field] = {each.name: each for each in fields(kind)}
    for name in values:
        if name not in known:
            raise InputError(f"{where} has an unknown key '{name}'. Known are: {', '.join(known)}.")
    for name, each in known.items():
        if name not in values and each.default is MISSING and each.default_factory is MISSING:
            raise InputError(f"{where} lacks '{name}'. Add it and run again.")
    return kind(**{name: _value(hints[name], each, f"{where}, {name}", readers) for name, each in values.items()})
