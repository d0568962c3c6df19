"""The parts of a model that are trained or kept as they are: tower, connector, decoder, summary."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from skipcore.errors import InputError
from skipcore.families import decoder_layers, family_of
from skipcore.finetune.step_budgets import SUMMARY
from skipcore.tower.blocks import Tower

PARTS = ("tower", "connector", "decoder", "summary")
Parts = dict[str, list[nn.Parameter]]


def parts_of(model: PreTrainedModel) -> Parts:
    """A model's parameters by part, each once. The decoder has the word embeddings and the head; the connector is what
    lies between tower and decoder; what goes from within the tower to several layers of the decoder (DeepStack) is of
    the tower."""
    tower = Tower(model).encoder
    within = [child for name in family_of(model.config).connector if (child := getattr(tower, name, None)) is not None]
    modules: dict[str, list[Any]] = {
        "summary": [getattr(model, SUMMARY, None)],
        "connector": within,
        "decoder": [model.get_decoder(), model.get_input_embeddings(), model.get_output_embeddings()],
        "tower": [tower],
    }
    part_of: dict[nn.Parameter, str] = {}
    for part, own in modules.items():
        for module in own:
            for parameter in module.parameters() if module is not None else ():
                part_of.setdefault(parameter, part)
    parts: Parts = {part: [] for part in PARTS}
    for parameter in model.parameters():
        parts[part_of.get(parameter, "connector")].append(parameter)
    return parts


def train_parts(model: PreTrainedModel, trained: Collection[str]) -> None:
    """Let some parts train, and keep the others as they are.

    Raises:
        InputError: there is no such part.
    """
    if unknown := set(trained) - set(PARTS):
        raise InputError(f"A model has no part {', '.join(sorted(unknown))}: take some of {', '.join(PARTS)}.")
    for part, parameters in parts_of(model).items():
        for parameter in parameters:
            parameter.requires_grad_(part in trained)


def table_of_parts(model: PreTrainedModel, summary: nn.Module | None = None) -> str:
    """What trains, a line a part.

    Args:
        summary: one that is not yet a part of the model.
    """
    lines = [f"{'Part':<10} {'parameters':>15} {'trained':>15}"]
    parts = parts_of(model) | ({"summary": list(summary.parameters())} if summary is not None else {})
    for part, parameters in parts.items():
        trained = sum(each.numel() for each in parameters if each.requires_grad)
        lines.append(f"{part:<10} {sum(each.numel() for each in parameters):>15,} {trained:>15,}")
    return "\n".join(lines)


def decoder_linears(model: PreTrainedModel) -> str:
    """A pattern that matches the names of all linear layers in the decoder's layers, and nothing in the tower: what
    adapters go to."""
    layers = decoder_layers(model)
    (prefix,) = (name for name, module in model.named_modules() if module is layers)
    kinds = {name for layer in layers for name, module in layer.named_modules() if isinstance(module, nn.Linear)}
    return rf"{re.escape(prefix)}\.\d+\.({'|'.join(re.escape(kind) for kind in sorted(kinds))})"
