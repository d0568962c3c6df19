"""Settings of methods, checked: counts or shares of tokens, whole numbers, layers, choices."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real

from skipcore.errors import InputError

Count = int | float
"""So many tokens of each picture, or a float share of them."""
Layer = int | float
"""A layer counted from 0, or a float share of the decoder's depth."""


def resolve(count: Count, num_tokens: int) -> int:
    """A count, or a share of `num_tokens`, as a count of at most `num_tokens`. A share above 0 is one token at least: a
    tiny picture is not lost."""
    if isinstance(count, float) and count > 0:
        count = max(1, round(count * num_tokens))
    return min(int(count), num_tokens)


def resolve_layer(layer: Layer, num_layers: int) -> int:
    """The number of a layer; a share below 1.0 is the last layer at most.

    Raises:
        InputError: the decoder has no such layer.
    """
    if isinstance(layer, float) and layer < 1:
        return min(round(layer * num_layers), num_layers - 1)
    number = round(layer * num_layers) if isinstance(layer, float) else layer
    if number >= num_layers:
        raise InputError(f"The model has layers 0 to {num_layers - 1}, but the method names layer {number}.")
    return number


def is_all(count: Count) -> bool:
    """Whether it is the share 1.0. The count 1 is one token."""
    return isinstance(count, float) and count == 1


def show(count: Count) -> str:
    """ "100" or "25%"."""
    return str(count) if not isinstance(count, float) else f"{count:.1%}".replace(".0%", "%")


def show_layers(layer: Layer) -> str:
    """ "1 layer", "3 layers" or "25% of the layers", the layers before one that is counted from 0."""
    if isinstance(layer, float):
        return f"{show(layer)} of the layers"
    return f"{layer} layer{'s' * (layer != 1)}"


def checked_count(name: str, count: object) -> Count:
    """A plain int or float, NumPy's numbers included."""
    if isinstance(count, bool) or not isinstance(count, Real):
        raise InputError(f"{name} must be a whole number, or a share between 0.0 and 1.0, not {told(count)}.")
    if isinstance(count, Integral):
        return checked_whole(name, count)
    share = float(count)
    if not 0 <= share <= 1:
        raise InputError(f"{name} as a share must lie between 0.0 and 1.0, not {share}; a count must be whole.")
    return share


def checked_whole(name: str, number: object) -> int:
    """A plain int from 0 on."""
    if isinstance(number, bool) or not isinstance(number, Integral):
        raise InputError(f"{name} must be a whole number, not {told(number)}.")
    if not 0 <= int(number) < 2**63:
        raise InputError(f"{name} must not be {'negative' if number < 0 else 'that large'}, but is {number}.")
    return int(number)


def checked_layers(name: str, layers: object) -> tuple[int, ...]:
    """Layers in rising order, each once."""
    return tuple(sorted({checked_whole(f"Each of the {name}", layer) for layer in checked_list(name, layers)}))


def checked_list(name: str, values: object) -> list[object]:
    """Any list, tuple, range or array, but no text, bytes, dictionary or single number."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) == 0:
        raise InputError(f"{name} must be a list such as [0, 3], not {told(values)}.")
    return list(values)


def checked_number(name: str, number: object) -> float:
    """A plain float; infinity is one, NaN is none."""
    if isinstance(number, bool) or not isinstance(number, Real) or math.isnan(number):
        raise InputError(f"{name} must be a number, not {told(number)}.")
    return float(number)


def checked_finite(name: str, number: object) -> float:
    """A plain float that is finite."""
    if not math.isfinite(found := checked_number(name, number)):
        raise InputError(f"{name} must be finite, not {found}.")
    return found


def told(value: object) -> str:
    """A value as a sentence shows it: on one line, and not too long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:80]}…"


def check_choice(name: str, choice: object, choices: tuple) -> None:
    """Raises InputError unless the choice is one of the choices."""
    if not any(choice is option or (isinstance(choice, str) and choice == option) for option in choices):
        raise InputError(f"{name} must be one of {', '.join(map(str, choices))}, not {told(choice)}.")


def _one_of(*choices: object) -> Callable[[str, object], object]:
    def check(name: str, value: object) -> object:
        check_choice(name, value, choices)
        return value

    return check


CHECKS: dict[str, Callable[[str, object], object]] = {
    "Count": checked_count,
    "Layer": checked_count,
    "int": checked_whole,
    "float": checked_number,
    "bool": _one_of(False, True),
    "Positions": _one_of("original", "renumbered"),
}


def checked(name: str, annotation: str, value: object) -> object:
    """A setting as its annotation wants it: one of `CHECKS`, a `Sequence[…]` of one, or either with "| None". Settings
    of other types are left as they are."""
    if annotation.endswith(" | None") and value is None:
        return None
    annotation = annotation.removesuffix(" | None")
    if annotation.startswith("Sequence["):
        kind = annotation.removeprefix("Sequence[").removesuffix("]")
        return tuple(checked(f"Each of {name}", kind, each) for each in checked_list(name, value))
    return CHECKS[annotation](name, value) if annotation in CHECKS else value
