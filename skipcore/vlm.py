"""Vlm: a model, its processor and its family's facts, ready to answer questions about pictures."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from skipcore.calibration import Calibration
from skipcore.encoding import remember, remembered
from skipcore.errors import InputError
from skipcore.families import PIXELS, Family, decoder_layers
from skipcore.families.family import Box
from skipcore.finite import check_finite
from skipcore.hardware import input_device
from skipcore.inputs import ImageLike, check_question, open_picture
from skipcore.methods.method import Method
from skipcore.methods.skip_vision import SkipVision
from skipcore.preset import PRESET, REASON
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
        calibration: what `calibrate` found for the model; None where it was not calibrated.
        lock: hold it while running the model, since a session's hooks act in every thread.
    """

    model: PreTrainedModel = field(repr=False)
    processor: Any = field(repr=False)
    family: Family = field(repr=False)
    name: str
    method: SkipVision | None = None
    calibration: Calibration | None = None
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def device(self) -> torch.device:
        """Where the model's inputs go."""
        return input_device(self.model)

    @property
    def skipping(self) -> Method:
        """The method to skip with: the calibrated one, or else the model's own, or else the preset."""
        if self.calibration is not None:
            return self.calibration.method
        return self.method or PRESET

    @property
    def skipping_source(self) -> Literal["calibrated", "trained", "preset"]:
        """Where `skipping` comes from."""
        if self.calibration is not None:
            return "calibrated"
        return "preset" if self.method is None else "trained"

    @property
    def skipping_reason(self) -> str:
        """What `skipping` does and why, as a person is told."""
        if self.calibration is not None:
            return self.calibration.reason
        return REASON if self.method is None else "This model was trained for skipping with these settings."

    @property
    def skip_vision(self) -> SkipVision:
        """Skip-Vision as this model takes it best: `skipping` where that is one, or else the model's own, or else
        `SkipVision.untrained`."""
        if isinstance(self.skipping, SkipVision):
            return self.skipping
        return self.method or SkipVision.untrained(len(decoder_layers(self.model)))

    @property
    def context_length(self) -> int:
        """Tokens that prompt and answer may take together."""
        return self.model.config.get_text_config().max_position_embeddings

    def prepare(
        self,
        image: ImageLike | Sequence[ImageLike],
        question: str,
        max_new_tokens: int = 0,
        history: Sequence[tuple[str, str]] = (),
        method: Method | None = None,
    ) -> Prepared:
        """Check pictures and a question and turn them into the model's inputs.

        Args:
            image: a picture, several of them, or an empty list for text alone.
            question: stands after the pictures.
            max_new_tokens: tokens that the answer may take.
            history: questions asked before about the same pictures, each with its answer.
            method: one that shows the model something else than the picture (`method.picture`).

        Raises:
            InputError: the picture or the question is bad, or too long for the model with `max_new_tokens` to come.
        """
        question = self._without_special_tokens(check_question(question))
        several: Sequence[Any] = image if isinstance(image, list | tuple) else [image]
        pictures = [open_picture(each) for each in several]
        return self._read(pictures, self._prompt([*history, (question, "")], len(pictures)), max_new_tokens, method)

    def prepare_messages(
        self, messages: Sequence[dict[str, Any]], max_new_tokens: int = 0, method: Method | None = None
    ) -> Prepared:
        """Check chat messages, with pictures and texts in any order, and turn them into the model's inputs.

        A model without a chat template reads the pictures first and then all texts as one question.

        Args:
            messages: as transformers has them, `{"role": …, "content": [{"type": "image", "image": picture} or
                {"type": "text", "text": text}, …]}`; the last one is to be answered.
            max_new_tokens: tokens that the answer may take.
            method: one that shows the model something else than the pictures.

        Raises:
            InputError: a part is bad or neither picture nor text, or the whole is too long for the model.
        """
        parts = [part for message in messages for part in message["content"]]
        if strange := {part["type"] for part in parts} - {"image", "text"}:
            raise InputError(f"Messages hold pictures and texts, but this one holds {' and '.join(sorted(strange))}.")
        pictures = [open_picture(part["image"]) for part in parts if part["type"] == "image"]
        texts = [self._without_special_tokens(part["text"]) for part in parts if part["type"] == "text"]
        if getattr(self.processor, "chat_template", None) is None:
            prompt = self.family.prompt(self.processor, check_question("\n".join(texts)), len(pictures))
        else:
            prompt = self.processor.apply_chat_template(messages, add_generation_prompt=True)
        return self._read(pictures, prompt, max_new_tokens, method)

    def _read(self, pictures: list[Image.Image], text: str, max_new_tokens: int, method: Method | None) -> Prepared:
        """A prompt that marks the places of its pictures, as the model's inputs."""
        shown_pictures = [method.picture(each) for each in pictures] if method else pictures
        batch = self.processor(images=shown_pictures or None, text=[text], return_tensors="pt")
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
    def encode(self, prepared: Prepared, method: Method | None = None) -> dict[str, BaseModelOutputWithPooling]:
        """Run the vision tower and the projector once: features that any number of runs can share.

        Args:
            method: one that looks at the tower (`method.tower_looks`) needs features of an encoding of its own.

        Raises:
            InputError: the features are not finite.
        """
        features = {}
        for kind, name in PIXELS.items():
            if name in prepared.inputs:
                with method.at_tower(self.model) if method else nullcontext() as recorder:
                    encode = partial(self._encode, getattr(self.model, f"get_{kind}_features"), prepared.inputs)
                    features[kind], given = encode()
                    seen = features[kind].pooler_output, getattr(features[kind], "deepstack_features", None)
                    check_finite(self.model, seen, encode)
                known = remembered(features[kind])
                if known is None or known.tower is None:  # in a session the method may have looked itself
                    remember(features[kind], given, None if recorder is None else recorder.rows())
        return features

    def num_visual_tokens(self, prepared: Prepared) -> int:
        """How many visual tokens the prompt holds."""
        return sum(rows * columns for tiles in prepared.tiles for rows, columns in (tile.grid for tile in tiles))

    def _encode(self, tower: Callable, inputs: dict[str, Any]) -> tuple[BaseModelOutputWithPooling, dict[str, Any]]:
        """Every family's tower takes other inputs; it is given those it names. Its features, and what it was given."""
        named = inspect.signature(tower).parameters
        given = {name: value for name, value in inputs.items() if name in named}
        return tower(**given, return_dict=True), given

    def _shown(self, picture: Image.Image, tiles: Tiles) -> list[ShownTile]:
        boxes = self.family.boxes(self.processor, picture.width, picture.height, len(tiles))
        return [ShownTile(tile.grid, box) for tile, box in zip(tiles, boxes, strict=True)]

    def _prompt(self, turns: Sequence[tuple[str, str]], pictures: int) -> str:
        """The text of a conversation whose last question is to be answered."""
        (first, _), *_ = turns
        if getattr(self.processor, "chat_template", None) is None:
            text = self.family.prompt(self.processor, first, pictures)
            for (_, answer), (question, _) in pairwise(turns):
                text += self.family.follow_up(self.processor, answer, question)
            return text
        messages: list[dict[str, Any]] = []
        for question, answer in turns:
            seen = [] if messages else [{"type": "image"}] * pictures
            messages += [
                {"role": "user", "content": [*seen, {"type": "text", "text": question}]},
                {"role": "assistant", "content": [{"type": "text", "text": answer}]},
            ]
        return self.processor.apply_chat_template(messages[:-1], add_generation_prompt=True)

    def _without_special_tokens(self, question: str) -> str:
        for token in self.processor.tokenizer.all_special_tokens:
            if token in question:
                raise InputError(
                    f"The question contains {token!r}, which has a special meaning for the model: leave it out."
                )
        return question
