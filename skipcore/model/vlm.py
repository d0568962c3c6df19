"""Vlm: a model, its processor and its family's facts, ready to answer questions about pictures."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from skipcore.calibration.choice import Calibration
from skipcore.engine.encoding import remember, remembered
from skipcore.engine.finite import check_finite
from skipcore.errors import InputError
from skipcore.families import PIXELS, Family, decoder_layers, kinds_of
from skipcore.families.family import Box
from skipcore.methods.method import Method
from skipcore.methods.skip_vision import SkipVision
from skipcore.model.hardware import input_device
from skipcore.model.inputs import ImageLike, open_picture
from skipcore.model.messages import Message, as_messages, checked_turns, read_messages
from skipcore.model.preset import PRESET, REASON
from skipcore.model.processing import chat_template, in_a_sentence, read_prompt, render
from skipcore.model.special_tokens import special_tokens
from skipcore.plan.tiles import Grid, Kind, Tiles, find_pictures


@dataclass(frozen=True)
class ShownTile:
    """A tile, and the part of the picture that it covers.

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

    Raises:
        InputError: the calibration is of a model with another number of layers.
    """

    model: PreTrainedModel = field(repr=False)
    processor: Any = field(repr=False)
    family: Family = field(repr=False)
    name: str
    method: SkipVision | None = None
    calibration: Calibration | None = None
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.calibration is None:
            return
        measured, own = len(self.calibration.ffn_kl), len(decoder_layers(self.model))
        if measured != own:
            raise InputError(
                f"The calibration is of the model {self.calibration.model!r} with {measured} layers, but this one "
                f"({self.name!r}) has {own}: make it again with `python -m skipcore calibrate`."
            )

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
        """What `skipping` does and why, in words."""
        if self.calibration is not None:
            made_for = self.calibration.model
            return self.calibration.reason + f" It was made for the model {made_for!r}." * (made_for != self.name)
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
            question: comes after the pictures.
            max_new_tokens: tokens that the answer may take.
            history: questions asked before about the same pictures, each with its answer. Special tokens in an answer
                are made plain ("< image>"): a model may write a picture's placeholder, but it shows none.
            method: one that shows the model something else than the picture (`method.picture`).

        Raises:
            InputError: the picture or the question is bad, or too long for the model with `max_new_tokens` to come.
        """
        several: Sequence[Any] = image if isinstance(image, list | tuple) else [image]
        pictures = [open_picture(each) for each in several]
        turns = checked_turns(history, question, special_tokens(self.processor))
        return self._read(pictures, self._prompt(turns, len(pictures)), max_new_tokens, method)

    def prepare_messages(
        self, messages: Sequence[dict[str, Any]], max_new_tokens: int = 0, method: Method | None = None
    ) -> Prepared:
        """Check chat messages, with pictures and texts in any order, and turn them into the model's inputs.

        Without a chat template of the processor or the tokenizer, a message's parts follow one another line by line.

        Args:
            messages: as transformers has them, `{"role": …, "content": [{"type": "image", "image": picture} or
                {"type": "text", "text": text}, …]}`, and the other forms that `read_messages` lists; the last one is to
                be answered. Texts of system and user must not hold special tokens; in the assistant's they are made
                plain ("< image>").
            max_new_tokens: tokens that the answer may take.
            method: one that shows the model something else than the pictures.

        Raises:
            InputError: a message is bad, the chat template takes no such messages, or the whole is too long for the
                model.
        """
        read, pictures = read_messages(messages, special_tokens(self.processor))
        return self._read(pictures, self._written(read), max_new_tokens, method)

    def _read(self, pictures: list[Image.Image], text: str, max_new_tokens: int, method: Method | None) -> Prepared:
        """A prompt that marks its pictures, as the model's inputs."""
        shown_pictures = [method.picture(each) for each in pictures] if method else pictures
        batch = read_prompt(self.processor, text, shown_pictures)
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
        return Prepared(inputs, pictures, self._tiles(pictures, inputs))

    def _tiles(self, pictures: list[Image.Image], inputs: dict[str, Any]) -> list[list[ShownTile]]:
        """Which part of each picture its visual tokens show."""
        config = self.model.config
        kinds = kinds_of(config, inputs["input_ids"])
        with in_a_sentence(
            "The model's processor does not make the visual tokens that the model expects",
            "use pictures of another size or shape, or the processor that belongs to the model",
        ):
            tiles = self.family.pictures(config, inputs)
            find_pictures(kinds, tiles)
            of_pictures = zip(pictures, tiles.get(Kind.IMAGE, []), strict=True)
            return [self._shown(picture, own) for picture, own in of_pictures]

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
        """The text of a conversation about pictures whose last question is to be answered."""
        return self._written(as_messages(turns, pictures))

    def _written(self, messages: Sequence[Message]) -> str:
        """The text of a conversation whose last message is to be answered."""
        mark = self.processor.image_token
        if (template := chat_template(self.processor)) is not None:
            prompt = render(self.processor, template, [message.templated() for message in messages])
            if mark not in prompt and any(None in message.parts for message in messages):
                raise InputError(
                    "The model's chat template leaves pictures out: set processor.chat_template to one that takes them."
                )
            return prompt
        spoken = [
            "\n".join(message.written(mark) for message in group)
            for _, group in groupby(messages, key=lambda message: message.role == "assistant")
        ]
        if messages[0].role == "assistant":
            spoken = ["", *spoken]
        text = self.family.prompt(self.processor, spoken[0])
        for answer, question in zip(spoken[1::2], spoken[2::2], strict=True):
            text += self.family.follow_up(self.processor, answer, question)
        return text
