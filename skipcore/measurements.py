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
from skipcore.methods.skip_vision import SkipVision


@dataclass(frozen=True)
class Measured:
    """One method on the pictures of a calibration.

    Attributes:
        flops: of the decoder's prefill, dense = 1.
        kl: mean KL(dense ‖ method), in nats.
        top1: share of positions with the same likeliest token.
    """

    flops: float
    kl: float
    top1: float


def fingerprint(model: str, base: SkipVision, inputs: Sequence[dict[str, Any]]) -> str:
    """Tells the measurements of one model, method and set of questions from others."""
    digest = hashlib.sha256(json.dumps([model, base.settings()]).encode())
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
        InputError: the file is of another model, method or set of questions, or cannot be read.
    """

    def __init__(self, file: str | Path | None, of: str) -> None:
        self._file = None if file is None else Path(file)
        self._known: dict[str, Measured] = {}
        if self._file is None:
            return
        try:
            if self._file.is_file():
                self._read(self._file, of)
            else:
                self._file.write_text(json.dumps({"fingerprint": of}) + "\n")
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"The record {str(file)!r} cannot be used ({error}): name another file.") from error

    def _read(self, file: Path, of: str) -> None:
        first, *lines = file.read_text().splitlines()
        if json.loads(first).get("fingerprint") != of:
            raise InputError(
                f"The record {str(file)!r} is of another model, method or set of questions: name another file, or "
                "delete it."
            )
        for line in lines:
            try:
                values = json.loads(line)
            except ValueError:
                continue  # the line that was being written when the run was cut off
            method = values.pop("method")
            self._known[method] = Measured(**values)

    def get(self, method: SkipVision) -> Measured | None:
        """What is known of a method."""
        return self._known.get(_key(method))

    def add(self, method: SkipVision, measured: Measured) -> Measured:
        """Keep a measurement; returns it."""
        self._known[_key(method)] = measured
        if self._file is not None:
            with self._file.open("a") as lines:
                lines.write(json.dumps({"method": _key(method)} | asdict(measured)) + "\n")
        return measured


def _key(method: SkipVision) -> str:
    return json.dumps(method.settings(), sort_keys=True)
