"""Vlm: a model, its processor and its family's facts, ready to answer questions about pictures."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from skipcore.errors import InputError
from skipcore.families import PIXELS, Family, family_of
from skipcore.families.family import Box
from skipcore.inputs import ImageLike, check_question, open_picture
from skipcore.methods.skip_vision import SkipVision
from skipcore.saved_method import load_method
from skipcore.tiles import Grid, Kind, Tiles


@dataclass(frozen=True)
class ShownTile:
    """A tile of a picture as a person finds it there.

    Attributes:
        grid: rows and columns of its visual tokens.
        box: left, top, right and bottom of what it covers, in shares of the picture's width and height.
    """

    grid: Grid
    box: Box


@dataclass(frozen=True)
class Prepared:
    """One question about some pictures as the model takes it.

    Attributes:
        inputs: keyword arguments of the model, on its device, pixels included.
        pictures: the pictures, upright and in RGB.
        tiles: of each picture.
    """

    inputs: dict[str, Any]
    pictures: list[Image.Image]
    tiles: list[list[ShownTile]]

    @property
    def num_tokens(self) -> int:
        """Tokens of the prompt, visual ones included."""
        return self.inputs["input_ids"].shape[1]

    def with_features(self, features: dict[str, BaseModelOutputWithPooling]) -> dict[str, Any]:
        """The model's keyword arguments with the pictures encoded already instead of their pixels."""
        if not features:
            return self.inputs
        inputs = {name: value for name, value in self.inputs.items() if name not in PIXELS.values()}
        return inputs | {"mm_encoder_outputs": dict(features)}


@dataclass(frozen=True)
class Vlm:
    """A vision-language model of a supported family.

    Attributes:
        model: stock transformers model, in eval mode.
        processor: its processor.
        family: the facts of its family.
        name: how it is called in reports.
        method: the skipping method the model was trained with and carries; None where it carries none.
        lock: hold it while running the model, since a session's hooks act in every thread.
    """

    model: PreTrainedModel = field(repr=False)
    processor: Any = field(repr=False)
    family: Family = field(repr=False)
    name: str
    method: SkipVision | None = None
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def device(self) -> torch.device:
        """Where the model's inputs go."""
        return self.model.device

    @property
    def context_length(self) -> int:
        """Tokens that prompt and answer may take together."""
        return self.model.config.get_text_config().max_position_embeddings

    def prepare(self, image: ImageLike | Sequence[ImageLike], question: str, max_new_tokens: int = 0) -> Prepared:
        """Check pictures and a question and turn them into the model's inputs.

        Args:
            image: a picture, several of them, or an empty list for text alone.
            question: stands after the pictures.
            max_new_tokens: tokens that the answer may take.

        Raises:
            InputError: the picture or the question is bad, or too long for the model with `max_new_tokens` to come.
        """
        question = self._without_special_tokens(check_question(question))
        several: Sequence[Any] = image if isinstance(image, list | tuple) else [image]
        pictures = [open_picture(each) for each in several]
        text = self._prompt(question, len(pictures))
        batch = self.processor(images=pictures or None, text=[text], return_tensors="pt")
        length = batch["input_ids"].shape[1]
        if length + max_new_tokens > self.context_length:
            raise InputError(
                f"Picture and question take {length:,} tokens and the answer may take {max_new_tokens:,} more, but the "
                f"model reads {self.context_length:,} at most: shorten the question or the answer."
            )
        inputs = {
            name: value.to(self.device, self.model.dtype if value.is_floating_point() else None)
            for name, value in batch.items()
            if isinstance(value, Tensor)
        }
        tiles = self.family.pictures(self.model.config, inputs).get(Kind.IMAGE, [])
        shown = [self._shown(picture, own) for picture, own in zip(pictures, tiles, strict=True)]
        return Prepared(inputs, pictures, shown)

    @torch.inference_mode()
    def encode(self, prepared: Prepared) -> dict[str, BaseModelOutputWithPooling]:
        """Run the vision tower and the projector once: features that any number of runs can share."""
        return {
            kind: self._encode(getattr(self.model, f"get_{kind}_features"), prepared.inputs)
            for kind, name in PIXELS.items()
            if name in prepared.inputs
        }

    def num_visual_tokens(self, prepared: Prepared) -> int:
        """How many visual tokens the prompt holds."""
        return sum(rows * columns for tiles in prepared.tiles for rows, columns in (tile.grid for tile in tiles))

    def _encode(self, tower: Callable, inputs: dict[str, Any]) -> BaseModelOutputWithPooling:
        """Every family's tower takes other inputs; it is given those it names."""
        named = inspect.signature(tower).parameters
        return tower(**{name: value for name, value in inputs.items() if name in named}, return_dict=True)

    def _shown(self, picture: Image.Image, tiles: Tiles) -> list[ShownTile]:
        boxes = self.family.boxes(self.processor, picture.width, picture.height, len(tiles))
        return [ShownTile(tile.grid, box) for tile, box in zip(tiles, boxes, strict=True)]

    def _prompt(self, question: str, pictures: int) -> str:
        if getattr(self.processor, "chat_template", None) is None:
            return self.family.prompt(self.processor, question, pictures)
        content = [*[{"type": "image"}] * pictures, {"type": "text", "text": question}]
        return self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)

    def _without_special_tokens(self, question: str) -> str:
        for token in self.processor.tokenizer.all_special_tokens:
            if token in question:
                raise InputError(
                    f"The question contains {token!r}, which has a special meaning for the model: leave it out."
                )
        return question


def load(name: str | Path, *, device: str | torch.device | None = None, dtype: str | torch.dtype = "auto") -> Vlm:
    """Load a model from a folder or from the Hub.

    Args:
        name: a folder written by `save_pretrained`, or a Hub id. Remote code is never run; safetensors only.
        device: default: "cuda" if there is one, otherwise "cpu".
        dtype: default: the dtype of the checkpoint on a GPU; float32 on the CPU, where half precision is slow.

    Raises:
        InputError: the model cannot be found or read, or its family is not supported.
    """
    name = str(name)
    try:
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if dtype == "auto" and device.type == "cpu":
            dtype = torch.float32
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        family = family_of(config)
        processor = AutoProcessor.from_pretrained(name, trust_remote_code=False)
        model = AutoModelForImageTextToText.from_pretrained(
            name, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
        model = model.to(device).eval().requires_grad_(False)
    except InputError:
        raise
    except (OSError, ValueError, ImportError, KeyError, RuntimeError, AttributeError, SafetensorError) as error:
        raise InputError(
            f"The model {name!r} cannot be loaded (device {device}, dtype {dtype}); check the folder or Hub id: "
            f"{_first_line(error)}"
        ) from error
    method = load_method(name) if Path(name).is_dir() else None
    if method is not None and method.summary is not None:
        method.summary.to(device)
    return Vlm(model, processor, family, Path(name).name if Path(name).is_dir() else name, method)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
