"""What was measured of each method, kept in a file so that a calibration that was cut off goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from skipcore.errors import InputError
from skipcore.methods import Method
from skipcore.methods.as_json import method_to_json


@dataclass(frozen=True)
class Measured:
    """One method on the pictures of a calibration.

    Attributes:
        flops: of the decoder's prefill, dense = 1.
        kv: bytes of the KV cache after prefill, dense = 1.
        kl: mean KL(dense ‖ method), in nats.
        top1: share of positions with the same likeliest token.
    """

    flops: float
    kv: float
    kl: float
    top1: float


def fingerprint(model: str, inputs: Sequence[dict[str, Any]]) -> str:
    """Tells the measurements of one model and set of questions from others."""
    digest = hashlib.sha256(json.dumps(model).encode())
    for one in inputs:
        for name, value in sorted(one.items()):
            if name == "mm_encoder_outputs":
                value = next(iter(value.values())).pooler_output if value else None
            for tensor in value if isinstance(value, list | tuple) else [value]:
                if isinstance(tensor, Tensor):
                    digest.update(tensor.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class Measurements:
    """Measurements by method; with a file, a line of JSON for each.

    Raises:
        InputError: the file is of another model or set of questions, or cannot be read.
    """

    def __init__(self, file: str | Path | None, of: str) -> None:
        self._file = None if file is None else Path(file)
        self._known: dict[str, Measured] = {}
        if self._file is None:
            return
        try:
            text = self._file.read_text() if self._file.is_file() else ""
            header, newline, lines = text.partition("\n")
            if not newline:  # new, or cut off in its first line
                self._file.write_text(json.dumps({"fingerprint": of}) + "\n")
                return
            if json.loads(header).get("fingerprint") != of:
                raise InputError(
                    f"The record {str(file)!r} is of another model or set of questions: name another file, or delete "
                    "it."
                )
            whole, _, torn = lines.rpartition("\n")
            for line in whole.splitlines():
                values = json.loads(line)
                method = values.pop("method")
                self._known[method] = Measured(**values)
            if torn:  # the line that was being written when the run was cut off: the next must not continue it
                self._file.write_text(text.removesuffix(torn))
        except InputError:
            raise
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"The record {str(file)!r} cannot be used ({error}): name another file.") from error

    def get(self, method: Method) -> Measured | None:
        """What is known of a method."""
        return self._known.get(_key(method))

    def add(self, method: Method, measured: Measured) -> Measured:
        """Keep a measurement; returns it."""
        self._known[_key(method)] = measured
        if self._file is not None:
            with self._file.open("a") as lines:
                lines.write(json.dumps({"method": _key(method)} | asdict(measured)) + "\n")
        return measured


def _key(method: Method) -> str:
    return json.dumps(method_to_json(method), sort_keys=True)
