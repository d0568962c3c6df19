"""Calibration: what a model may drop and skip, as `calibrate` measured it, and its JSON file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skipcore.errors import InputError
from skipcore.methods import Method
from skipcore.methods.as_json import method_from_json, method_to_json
from skipcore.methods.settings import checked_finite, checked_layers, checked_list, checked_whole, told

CALIBRATION_FILE = "calibration.json"
"""Where a model folder carries its calibration."""


@dataclass(frozen=True)
class Choice:
    """A method, and what it costs.

    Attributes:
        name: how it was chosen.
        label: of the method.
        layers: in which skipped tokens skip the FFN.
        attention_layers: in which they skip the attention.
        flops: of the decoder's prefill, dense = 1.
        kv: bytes of the KV cache after prefill, dense = 1.
        kl: mean KL(dense ‖ method) of the next-token distributions, in nats.
        top1: share of positions with the same likeliest token.
    """

    name: str
    label: str
    layers: tuple[int, ...]
    attention_layers: tuple[int, ...]
    flops: float
    kv: float
    kl: float
    top1: float


@dataclass(frozen=True)
class Calibration:
    """What `calibrate` found.

    Attributes:
        model: name of the model.
        method: the method to use.
        target, kv_target: FLOPs of the decoder's prefill and bytes of the KV cache that were wanted, dense = 1.
        pictures: questions asked about pictures.
        positions: next-token distributions compared.
        choice: `method` and what it costs.
        rivals: the preset, and uniform and random tokens within the same targets.
        ffn_kl, attention_kl: [layers] KL where all visual tokens skip that sub-layer alone.
        ffn_update: [layers] median ‖FFN output‖ / ‖residual‖ of the visual tokens in the dense model.
    """

    model: str
    method: Method
    target: float
    kv_target: float
    pictures: int
    positions: int
    choice: Choice
    rivals: tuple[Choice, ...]
    ffn_kl: tuple[float, ...]
    attention_kl: tuple[float, ...]
    ffn_update: tuple[float, ...]

    @property
    def reason(self) -> str:
        """What was chosen and on what, in words."""
        return (
            f"Calibrated: what is dropped and skipped was chosen on {self.pictures} questions about pictures; there, "
            f"{self.choice.top1:.0%} of the likeliest next tokens stayed the same at {self.choice.flops:.0%} of the "
            f"prefill FLOPs and {self.choice.kv:.0%} of the KV cache."
        )

    def save(self, file: str | Path) -> None:
        """Write the JSON that `load` and the page accept. A trained summary is not part of it.

        Raises:
            InputError: the file cannot be written.
        """
        values = {name: value for name, value in vars(self).items() if name not in ("method", "choice", "rivals")}
        values |= {
            "method": method_to_json(self.method),
            "choice": asdict(self.choice),
            "rivals": [asdict(each) for each in self.rivals],
        }
        try:
            Path(file).write_text(json.dumps(values, indent=1) + "\n")
        except OSError as error:
            raise InputError(f"The calibration cannot be written to {str(file)!r} ({error}).") from error


def load_calibration(file: str | Path) -> Calibration:
    """Read what `Calibration.save` wrote.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        values: dict[str, Any] = json.loads(Path(file).read_text())
        read: dict[str, Any] = {name: checked_finite(name, values[name]) for name in ("target", "kv_target")}
        read |= {name: checked_whole(name, values[name]) for name in ("pictures", "positions")}
        layers = {name: _figures(name, values[name]) for name in ("ffn_kl", "attention_kl", "ffn_update")}
        read |= layers
        if len({len(each) for each in layers.values()}) > 1:
            raise InputError("its figures are not of the same layers")
        if not values["rivals"]:
            raise InputError("it has no rivals")
        return Calibration(
            model=_text("model", values["model"]),
            method=method_from_json(values["method"]),
            choice=_choice(values["choice"]),
            rivals=tuple(_choice(each) for each in values["rivals"]),
            **read,
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(
            f"The calibration {str(file)!r} cannot be read ({error}): make it again with `python -m skipcore "
            "calibrate`."
        ) from error


def _choice(values: dict[str, Any]) -> Choice:
    read: dict[str, Any] = {name: checked_layers(name, values[name]) for name in ("layers", "attention_layers")}
    read |= {name: _text(name, values[name]) for name in ("name", "label")}
    read |= {name: checked_finite(name, values[name]) for name in ("flops", "kv", "kl", "top1")}
    return Choice(**read)


def _figures(name: str, values: object) -> tuple[float, ...]:
    return tuple(checked_finite(name, value) for value in checked_list(name, values))


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputError(f"{name} must be text, not {told(value)}.")
    return value
