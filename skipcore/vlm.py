"""Vlm: a model, its processor and its family's facts, ready to answer questions about pictures."""

from __future__ import annotations

import threading
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
from skipcore.families import Family, family_of, visual_positions
from skipcore.inputs import ImageLike, check_question, open_picture
from skipcore.methods.skip_vision import SkipVision
from skipcore.plan import Grid
from skipcore.saved_method import load_method


@dataclass(frozen=True)
class Prepared:
    """One question about one picture as the model takes it.

    Attributes:
        inputs: keyword arguments of the model, on its device, `pixel_values` included.
        pictures: every picture as the model sees it.
        grids: rows and columns of each picture's visual tokens.
    """

    inputs: dict[str, Any]
    pictures: list[Image.Image]
    grids: list[Grid]

    @property
    def num_tokens(self) -> int:
        """Tokens of the prompt, visual ones included."""
        return self.inputs["input_ids"].shape[1]

    def with_features(self, features: dict[str, BaseModelOutputWithPooling]) -> dict[str, Any]:
        """The model's keyword arguments with the picture encoded already instead of its pixels."""
        inputs = {name: value for name, value in self.inputs.items() if name != "pixel_values"}
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

    def prepare(self, image: ImageLike, question: str, max_new_tokens: int = 0) -> Prepared:
        """Check a picture and a question and turn them into the model's inputs.

        Raises:
            InputError: the picture or the question is bad, or too long for the model with `max_new_tokens` to come.
        """
        question = self._without_special_tokens(check_question(question))
        picture = open_picture(image)
        batch = self.processor(images=[picture], text=[self._prompt(question)], return_tensors="pt")
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
        return Prepared(
            inputs,
            self.family.pictures(self.processor, inputs),
            self.family.grids(self.model.config, inputs),
        )

    @torch.inference_mode()
    def encode(self, prepared: Prepared) -> dict[str, BaseModelOutputWithPooling]:
        """Run the vision tower and the projector once: features that any number of runs can share."""
        features = self.model.get_image_features(pixel_values=prepared.inputs["pixel_values"], return_dict=True)
        return {"image": features}

    def num_visual_tokens(self, prepared: Prepared) -> int:
        """How many visual tokens the prompt holds."""
        return int(visual_positions(self.model.config, prepared.inputs["input_ids"]).sum())

    def _prompt(self, question: str) -> str:
        if getattr(self.processor, "chat_template", None) is None:
            return self.family.prompt(question)
        content = [{"type": "image"}, {"type": "text", "text": question}]
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
