"""The models that the page offers: the one that it is started with, and the list that visitors choose from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from app import ASSETS
from skipcore import Vlm

BUILT_IN = "built-in"
BUILT_IN_FOLDER = ASSETS / "models" / "scenes"
VARIABLE = "SKIP_VISION_MODEL"
"""The environment variable that names the model where no option does, as on a Space."""
GIB = 2**30


@dataclass(frozen=True)
class KnownModel:
    """A model by its size.

    Attributes:
        name: what `--model` takes: "built-in", a Hub id, or a folder.
        family: see `skipcore.families`.
        weights: how many; as the Hub's configs make them, rounded to 10 million, where the model is not loaded.
        about: what it is for, in a few words.
    """

    name: str
    family: str
    weights: int
    about: str

    @property
    def gib_bfloat16(self) -> float:
        """Memory that the weights take on a GPU; pictures and answers need more."""
        return self.weights * 2 / GIB

    @property
    def gib_float32(self) -> float:
        """Memory that they take on the CPU, where half precision is slow."""
        return self.weights * 4 / GIB

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"gib_bfloat16": self.gib_bfloat16, "gib_float32": self.gib_float32}


KNOWN = (
    KnownModel(BUILT_IN, "LLaVA", 4_553_088, "drawn scenes; trained for skipping"),
    KnownModel("HuggingFaceTB/SmolVLM-256M-Instruct", "SmolVLM", 260_000_000, "photos"),
    KnownModel("HuggingFaceTB/SmolVLM-500M-Instruct", "SmolVLM", 510_000_000, "photos"),
    KnownModel("OpenGVLab/InternVL3-1B-hf", "InternVL", 940_000_000, "photos and documents"),
    KnownModel("OpenGVLab/InternVL3-2B-hf", "InternVL", 2_090_000_000, "photos and documents"),
    KnownModel("Qwen/Qwen3-VL-2B-Instruct", "Qwen3-VL", 2_130_000_000, "photos, documents, any size of picture"),
    KnownModel("HuggingFaceTB/SmolVLM-Instruct", "SmolVLM", 2_250_000_000, "photos"),
    KnownModel("Qwen/Qwen2.5-VL-3B-Instruct", "Qwen2.5-VL", 3_750_000_000, "photos, documents, any size of picture"),
    KnownModel("Qwen/Qwen3-VL-4B-Instruct", "Qwen3-VL", 4_440_000_000, "photos, documents, any size of picture"),
    KnownModel("llava-hf/llava-1.5-7b-hf", "LLaVA", 7_060_000_000, "photos; the family of the paper"),
)


def address_of(name: str) -> str:
    """Return where the page opens with a model, such as "/models/SmolVLM-256M-Instruct/": what the models of the list
    are called without their makers differs."""
    return f"/models/{quote(name.rsplit('/', 1)[-1])}/"


def chosen_model(option: str | None = None) -> str:
    """What to load: the option, or what the environment says, or the built-in model; a folder or a Hub id."""
    name = option or os.environ.get(VARIABLE) or BUILT_IN
    return str(BUILT_IN_FOLDER) if name == BUILT_IN else name


def running_model(vlm: Vlm) -> KnownModel:
    """The loaded model, with its weights as counted; its folder stays private."""
    weights = sum(parameter.numel() for parameter in vlm.model.parameters())
    is_built_in = Path(vlm.model.name_or_path or ".").resolve() == BUILT_IN_FOLDER
    name = BUILT_IN if is_built_in else vlm.name
    listed = next((each for each in KNOWN if each.name == name), None)
    if listed is not None:
        return replace(listed, weights=weights)
    return KnownModel(name, vlm.family.name, weights, "chosen by the owner of this page")


def models_for(vlm: Vlm, addresses: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """The running model and all listed ones, the smallest first, as JSON. "runs_here" tells them apart; "skipping" says
    where the running one's setting for skipping comes from, and is None for the others.

    Args:
        addresses: of the pages of the models that are loaded, for "address", which is None for the others; default: the
            running one alone.
    """
    running = running_model(vlm)
    if addresses is None:
        addresses = {running.name: "/"}
    others = [each for each in KNOWN if each.name != running.name]
    return [
        each.facts()
        | {
            "runs_here": each is running,
            "address": addresses.get(each.name),
            "skipping": vlm.skipping_source if each is running else None,
        }
        for each in sorted([running, *others], key=lambda each: each.weights)
    ]
