"""A recipe small enough to train in seconds, and a folder with its model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from training_runs import TINY

from skipcore.builtin.scenes.sample import EVERYTHING, Contents
from skipcore.builtin.training import runs
from skipcore.builtin.training.model_folder import write_model
from skipcore.builtin.training.recipe import Recipe, Stage

SIZE = TINY.size
CLAIM = Recipe(
    name="tiny",
    seed=5,
    size=SIZE,
    stages=(
        Stage(
            name="336 px, decoder",
            image_side=336,
            steps=4,
            pictures=2,
            questions=2,
            first_rate=1e-2,
            last_rate=1e-3,
            warm_up=1,
            trains="decoder",
        ),
    ),
)
TOML = """
seed = 6
[size]
tower_width = 32
tower_layers = 1
tower_heads = 2
tower_ffn = 64
decoder_width = 32
decoder_layers = 2
decoder_heads = 2
decoder_ffn = 64
vocabulary = 512
[[stages]]
name = "84 px"
image_side = 84
steps = 2
pictures = 2
questions = 2
first_rate = 1e-2
last_rate = 1e-3
warm_up = 1
"""


def model_folder(folder: Path, contents: Contents = EVERYTHING) -> Path:
    """A folder with a random model of another seed than the recipe's."""
    stage = replace(CLAIM.stages[0], contents=contents)
    write_model(runs.start(Recipe("start", 77, SIZE, (stage,))), folder)
    return folder
