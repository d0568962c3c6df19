"""Calibration: which sub-layers a model may skip, as `calibrate` measured it, and its JSON file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skipcore.errors import InputError
from skipcore.methods.skip_vision import SkipVision

CALIBRATION_FILE = "calibration.json"
"""Where a model folder carries its calibration."""


@dataclass(frozen=True)
class Choice:
    """A choice of sub-layers, and what it costs.

    Attributes:
        name: how it was chosen.
        layers: in which skipped tokens bypass the FFN.
        attention_layers: in which they bypass the attention.
        flops: of the decoder's prefill, dense = 1.
        kl: mean KL(dense ‖ skipping) of the next-token distributions, in nats.
        top1: share of positions with the same likeliest token.
    """

    name: str
    layers: tuple[int, ...]
    attention_layers: tuple[int, ...]
    flops: float
    kl: float
    top1: float


@dataclass(frozen=True)
class Calibration:
    """What `calibrate` found.

    Attributes:
        model: name of the model.
        method: the method to use.
        target: FLOPs of the decoder's prefill that were wanted, dense = 1.
        pictures: questions asked about pictures.
        positions: next-token distributions compared.
        choice: what `method` skips.
        rivals: other choices at as many FLOPs: the first sub-layers, the last, random ones.
        ffn_kl, attention_kl: [layers] KL where that sub-layer alone is skipped.
        ffn_update: [layers] median ‖FFN output‖ / ‖residual‖ of the tokens that would be skipped, in the dense model.
    """

    model: str
    method: SkipVision
    target: float
    pictures: int
    positions: int
    choice: Choice
    rivals: tuple[Choice, ...]
    ffn_kl: tuple[float, ...]
    attention_kl: tuple[float, ...]
    ffn_update: tuple[float, ...]

    @property
    def reason(self) -> str:
        """What was chosen and on what, as a person is told."""
        return (
            f"Calibrated: what is dropped and skipped was chosen on {self.pictures} questions about pictures; there, "
            f"{self.choice.top1:.0%} of the likeliest next tokens stayed the same at {self.choice.flops:.0%} of the "
            "prefill FLOPs."
        )

    def save(self, file: str | Path) -> None:
        """Write the JSON that `load` and the page accept. A trained summary is not part of it."""
        Path(file).write_text(json.dumps(asdict(self) | {"method": self.method.settings()}, indent=1) + "\n")


def load_calibration(file: str | Path) -> Calibration:
    """Read what `Calibration.save` wrote.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        values: dict[str, Any] = json.loads(Path(file).read_text())
        settings = values["method"]
        method = SkipVision(**{name: value for name, value in settings.items() if name != "summary"})
        numbers = {name: tuple(values[name]) for name in ("ffn_kl", "attention_kl", "ffn_update")}
        return Calibration(
            **values
            | numbers
            | {
                "method": method,
                "choice": _choice(values["choice"]),
                "rivals": tuple(_choice(each) for each in values["rivals"]),
            }
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"The calibration {str(file)!r} cannot be read ({error}); make it anew with `python -m skipcore calibrate`."
        ) from error


def _choice(values: dict[str, Any]) -> Choice:
    layers = {name: tuple(values[name]) for name in ("layers", "attention_layers")}
    return Choice(**values | layers)
