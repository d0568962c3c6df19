"""What a family is: all that a session, a prompt and a page must know of one kind of model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from skipcore.families.patches import ModelInputs, Patches, one_image_a_tile
from skipcore.plan.layout import Layout
from skipcore.plan.tiles import Grid, Kind, Tile, Tiles

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in shares of the picture's width and height."""
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
PIXELS = {"image": "pixel_values", "video": "pixel_values_videos"}
"""The inputs that hold what the vision tower sees."""
Pictures = dict[Kind, list[Tiles]]


def whole_picture(processor: Any, width: int, height: int, num_tiles: int) -> list[Box]:
    """Every tile covers the whole picture."""
    return [WHOLE] * num_tiles


def tiles_then_whole(rows: int, columns: int) -> list[Box]:
    """Tiles row by row, then the whole picture."""
    return [
        (column / columns, row / rows, (column + 1) / columns, (row + 1) / rows)
        for row in range(rows)
        for column in range(columns)
    ] + [WHOLE]


def plain_prompt(processor: Any, question: str) -> str:
    """The question as it is."""
    return question


def answer_then_question(processor: Any, answer: str, question: str) -> str:
    """The answer, and the next question on a line of its own."""
    return f"{answer}\n{question}"


def follows_nothing(kwargs: dict[str, Any], layout: Layout) -> dict[str, Any]:
    """Nothing but embeddings, positions and mask belongs to a token."""
    return {}


@dataclass(frozen=True)
class Family:
    """The facts of one model family.

    Attributes:
        name: in words.
        model_types: `config.model_type` of its checkpoints.
        pictures: the tiles of every picture and every video, from the config and the inputs of the model.
        boxes: what each tile of a picture covers, from the processor, the picture's width and height in pixels and the
            number of tiles.
        prompt: the prompt for a question, placeholders of its pictures included, where there is no chat template.
        follow_up: what goes on after such a prompt: the answer and the next question, likewise.
        remembers: attributes of the base model in which it keeps what it knows of the last prompt for decoding.
        ffn_norm: the norm in each layer that feeds the `mlp`.
        masks: for models that are not plainly causal, the prefill's masks from the config, the layout and whether text
            attends to skipped tokens; None: plainly causal.
        adds_between_layers: whether something is added to all hidden states between layers, so that they must be there.
        follow: what else goes with the tokens: the decoder's keyword arguments that must be laid out, too.
        patches: which rows of the vision tower feed each visual token, see `families.patches`.
        connector: modules within the vision tower that belong to what connects it to the decoder.
        extra: the package beyond torchvision that its processor needs.
    """

    name: str
    model_types: tuple[str, ...]
    pictures: Callable[[PreTrainedConfig, ModelInputs], Pictures]
    boxes: Callable[[Any, int, int, int], list[Box]] = whole_picture
    prompt: Callable[[Any, str], str] = plain_prompt
    follow_up: Callable[[Any, str, str], str] = answer_then_question
    remembers: tuple[str, ...] = ()
    ffn_norm: str = "post_attention_layernorm"
    masks: Callable[[PreTrainedConfig, Layout, bool], dict[str, Tensor]] | None = None
    adds_between_layers: bool = False
    follow: Callable[[dict[str, Any], Layout], dict[str, Any]] = follows_nothing
    patches: Patches = one_image_a_tile
    connector: tuple[str, ...] = ()
    extra: str | None = None


def kinds_of(config: PreTrainedConfig, input_ids: Tensor) -> Tensor:
    """[batch, prompt] the `Kind` of each token. Models that tell pictures and videos apart have a token for each."""
    kinds = torch.zeros_like(input_ids)
    kinds[input_ids == config.image_token_id] = Kind.IMAGE
    if (video := getattr(config, "video_token_id", None)) is not None and video != config.image_token_id:
        kinds[input_ids == video] = Kind.VIDEO
    return kinds


def runs_of(config: PreTrainedConfig, inputs: ModelInputs) -> list[list[tuple[int, int]]]:
    """For each prompt the first index and the length of every unbroken run of image tokens."""
    found = []
    for row in inputs["input_ids"] == config.image_token_id:
        edges = torch.nn.functional.pad(row.int(), (1, 1)).diff().nonzero().flatten().tolist()
        found.append([(first, last - first) for first, last in zip(edges[::2], edges[1::2], strict=True)])
    return found


def square(num_tokens: int) -> Grid:
    """The grid of so many tokens of a square picture."""
    side = round(num_tokens**0.5)
    return side, side


def one_tile_each(grids: list[Grid]) -> Pictures:
    """Pictures of a single tile."""
    return {Kind.IMAGE: [(Tile(grid),) for grid in grids]}
