"""A method as plain JSON values, and back."""

from __future__ import annotations

from typing import Any

from skipcore.errors import InputError
from skipcore.methods import METHODS, Combined, Method, SkipVision


def method_to_json(method: Method) -> dict[str, Any]:
    """Return the class name and the settings; both of a `Combined`. A trained summary is not part of it."""
    if isinstance(method, Combined):
        parts = {"dropping": method_to_json(method.dropping), "skipping": method_to_json(method.skipping)}
        return {"name": "Combined", **parts}
    settings = {name: value for name, value in method.settings().items() if name != "summary"}
    return {"name": type(method).__name__, "settings": settings}


def method_from_json(values: dict[str, Any]) -> Method:
    """Read what `method_to_json` wrote.

    Raises:
        InputError: a setting is impossible, or there is no such method.
        KeyError, TypeError: something is missing, or too much.
    """
    if values["name"] == "Combined":
        skipping = method_from_json(values["skipping"])
        if not isinstance(skipping, SkipVision):
            raise InputError("A combined method ends in Skip-Vision.")
        return Combined(method_from_json(values["dropping"]), skipping)
    if values["name"] not in METHODS:
        raise InputError(f"There is no method {values['name']!r}: choose one of {', '.join(METHODS)}.")
    settings = dict(values["settings"])
    if values["name"] == "DyMU":
        settings.pop("exact", None)  # older files have it; it changed nothing but the time
    return METHODS[values["name"]](**settings)
