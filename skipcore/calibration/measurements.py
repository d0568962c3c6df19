"""What was measured of each method, kept in a file so that a calibration that was cut off goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from skipcore.answering.agreement import DenseAnswer
from skipcore.errors import InputError
from skipcore.json_lines import JsonLines
from skipcore.methods import Method
from skipcore.methods.as_json import method_to_json
from skipcore.methods.settings import checked_finite


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


def fingerprint(model: str, asked: Sequence[DenseAnswer]) -> str:
    """Tells the measurements of one model and set of questions from others: by what the model is given, its dense
    answers, and its dense distributions along them, which no other weights or dtype have."""
    digest = hashlib.sha256(json.dumps([model, [one.answer for one in asked]]).encode())
    for one in asked:
        for name, tensor in [*_tensors(one.inputs), ("dense", one.dense)]:
            digest.update(json.dumps([name, list(tensor.shape), str(tensor.dtype)]).encode())
            exact = tensor.float() if tensor.is_floating_point() else tensor
            digest.update(exact.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _tensors(inputs: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Those among a model's inputs, the features of pictures included."""
    for name, value in sorted(inputs.items()):
        features = [each.pooler_output for each in value.values()] if name == "mm_encoder_outputs" else [value]
        for each in features:
            of_pictures = each if isinstance(each, list | tuple) else [each]
            yield from ((name, tensor) for tensor in of_pictures if isinstance(tensor, Tensor))


class Measurements:
    """Measurements by method; with a file, a line of JSON for each.

    Args:
        file: None keeps them in memory alone.
        of: a `fingerprint`.

    Raises:
        InputError: the file is of another model or set of questions, or cannot be read or written.
    """

    def __init__(self, file: str | Path | None, of: str) -> None:
        header = {"model_or_set_of_questions": of}
        self._file = JsonLines(None if file is None else Path(file), header, header)
        self._known: dict[str, Measured] = {}
        try:
            for line in self._file.lines[1:]:
                values = {name: checked_finite(name, value) for name, value in line.items() if name != "method"}
                self._known[line["method"]] = Measured(**values)
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"The record {str(file)!r} cannot be used ({error}): name another file.") from error

    def get(self, method: Method) -> Measured | None:
        """What is known of a method."""
        return self._known.get(_key(method))

    def add(self, method: Method, measured: Measured) -> Measured:
        """Keep a measurement; returns it.

        Raises:
            InputError: the file cannot be written.
        """
        self._known[_key(method)] = measured
        self._file.add({"method": _key(method)} | asdict(measured))
        return measured


def _key(method: Method) -> str:
    return json.dumps(method_to_json(method), sort_keys=True)
