"""Logits that are not finite are an error, never a figure or an answer: what is said of them, and where they began."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LogitsProcessor, PreTrainedModel
from transformers.modeling_outputs import ModelOutput

from skipcore.errors import InputError
from skipcore.families import decoder_layers


def check_finite(logits: Tensor, model: PreTrainedModel, again: Callable[[], Any] | None = None) -> None:
    """Do nothing where all logits are finite.

    Args:
        logits: of any shape.
        model: that made them.
        again: makes them again, so that the module is found where they began to be infinite or not a number.

    Raises:
        InputError: some are not.
    """
    if not bool(torch.isfinite(logits).all()):
        raise not_finite(model, again)


def not_finite(model: PreTrainedModel, again: Callable[[], Any] | None = None) -> InputError:
    """The error that says so; see `check_finite`."""
    place = None
    if again is not None:
        with _first_place(model) as found:
            again()
        place = found[0] if found else "the output head"
    dtype = str(model.dtype).removeprefix("torch.")
    where = f", first in {place}" if place else ""
    advice = (
        'numbers of this size do not fit into float16: load the model with dtype="bfloat16" or "float32"'
        if model.dtype == torch.float16
        else "its weights may be damaged: fetch the model anew"
    )
    return InputError(f"The model's outputs in {dtype} are infinite or not a number{where}; {advice}.")


@contextmanager
def _first_place(model: PreTrainedModel) -> Iterator[list[str]]:
    """Collects names of the modules whose output is not finite while the body runs, in the order of the run."""
    found: list[str] = []

    def look(name: str) -> Callable:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if any(not bool(torch.isfinite(each).all()) for each in _floats(output)):
                found.append(name)

        return hook

    embedding = model.get_input_embeddings()
    places: list[tuple[str, nn.Module]] = [("the embeddings", embedding)] if embedding is not None else []
    places += [(f"decoder layer {number}", layer) for number, layer in enumerate(decoder_layers(model))]

    def before_decoder(decoder: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        given = kwargs.get("inputs_embeds")
        if isinstance(given, Tensor) and not bool(torch.isfinite(given).all()):
            found.append("the vision tower or the projector")

    handles = [module.register_forward_hook(look(name)) for name, module in places]
    handles.append(model.get_decoder().register_forward_pre_hook(before_decoder, with_kwargs=True))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _floats(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, ModelOutput):
        yield from (each for value in output.values() for each in _floats(value))
    elif isinstance(output, list | tuple):
        yield from (each for value in output for each in _floats(value))


class FiniteLogits(LogitsProcessor):
    """For stock `generate()`: raises where a step's logits are not finite."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        check_finite(scores, self.model)
        return scores
