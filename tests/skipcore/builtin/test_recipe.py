"""Recipes: the shipped ones load, and a bad one is refused in words that name the fault."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("easy_vqa")

from skipcore.builtin.scenes.sample import Contents
from skipcore.builtin.scenes.words import THING_NAMES
from skipcore.builtin.training.recipe import Mixture, Skipping, Stage, load_recipe, names
from skipcore.builtin.training.untrained import IMAGE_SIDE, PATCH_SIDE, ModelSize
from skipcore.errors import InputError

RUN = """seed = 1
weight_decay = 0.1

[size]
decoder_layers = 3

"""
STAGE = """[[stages]]
name = "first"
image_side = 84
steps = 10
pictures = 8
questions = 2
first_rate = 1e-3
last_rate = 1
mixture = { scenes = 0.5, easy_drawn = 0.5 }
skipping = { share = 0.25, num_retained = 9, num_skipped = 9, random_rule = false }
contents = { most_items = 3 }
question_shares = { count = 2, relation = 0.5 }
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", names())
def test_shipped_recipes_load(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    if name.startswith("scenes"):  # a model to ship, which sees pictures of full size and answers
        assert recipe.stages[-1].image_side == IMAGE_SIDE and recipe.stages[-1].trains != "tower"
    for stage in recipe.stages:
        assert stage.image_side % PATCH_SIDE == 0
        assert stage.pictures % stage.accumulate == 0 and stage.skip_pictures % stage.accumulate == 0


def test_there_are_recipes() -> None:
    assert "scenes-cpu" in names()


def test_a_file_says_everything(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, RUN + STAGE))
    assert (recipe.name, recipe.seed, recipe.weight_decay, recipe.mixed_precision) == ("mine", 1, 0.1, "no")
    assert recipe.size == replace(ModelSize(), decoder_layers=3)
    assert recipe.stages == (
        Stage(
            name="first",
            image_side=84,
            steps=10,
            pictures=8,
            questions=2,
            first_rate=1e-3,
            last_rate=1.0,
            mixture=Mixture(0.5, 0.0, 0.5),
            skipping=Skipping(0.25, 9, 9, False),
            contents=Contents(most_items=3),
            question_shares={"count": 2.0, "relation": 0.5},
        ),
    )
    assert isinstance(recipe.stages[0].last_rate, float)


def test_things_of_a_recipe_are_those_of_every_stage() -> None:
    recipe = load_recipe("scenes-cpu")
    assert 40 < len(recipe.things) < 60
    assert all(stage.contents.things == recipe.things for stage in recipe.stages)
    assert all(stage.contents.things == THING_NAMES for stage in load_recipe("scenes-gpu").stages)


# what a line of the recipe becomes, and what the message must say
BROKEN = [
    ("seed = 1", "", "lacks 'seed'"),
    ("seed = 1", "seed = 1.5", "seed must be of type int"),
    ("seed = 1", "seed = true", "seed must be of type int"),
    ("seed = 1", "seed = -1", "seed must be 0 or more"),
    ("seed = 1", "seed = 1\ncolor = 3", "unknown key 'color'"),
    ("seed = 1", "seed = 1\nmixed_precision = 'fp8'", "mixed_precision must be one of no, bf16"),
    ("seed = 1", "seed = 1\nthings = ['dog', 'unicorn']", "things must be names of the scenes' things"),
    ("seed = 1", "seed = 1\nthings = 'dog'", "things must be a list"),
    ("seed = 1", "seed = 1\nlargest_gradient = 0", "largest_gradient must be above 0"),
    ("weight_decay = 0.1", "weight_decay = -1", "weight_decay must be 0 or more"),
    ("weight_decay = 0.1", "weight_decay = nan", "weight_decay must be 0 or more"),
    ("weight_decay = 0.1", "weight_decay = '1'", "weight_decay must be of type float"),
    ("seed = 1", "seed = = 1", "not valid TOML"),
    ("seed = 1", "seed = 1\nseed = 2", "not valid TOML"),
    ("decoder_layers = 3", "layers = 3", "size has an unknown key 'layers'"),
    ("decoder_layers = 3", "decoder_layers = 0", "layers and heads must be at least 1"),
    ("decoder_layers = 3", "decoder_heads = 0", "layers and heads must be at least 1"),
    ("decoder_layers = 3", "decoder_heads = 7", "decoder_width must be a multiple of twice decoder_heads"),
    ("decoder_layers = 3", "tower_heads = 5", "tower_width must be a multiple of tower_heads"),
    ("decoder_layers = 3", "vocabulary = 258", "vocabulary must be at least 259"),
    ("[size]\ndecoder_layers = 3", "size = 5", "size must be a table"),
    ('name = "first"', "name = 3", "stages 1, name must be of type str"),
    ("steps = 10", "", "stages 1 lacks 'steps'"),
    ("steps = 10", "steps = 0", "steps, pictures, questions and accumulate"),
    ("steps = 10", "steps = 10\naccumulate = 0", "steps, pictures, questions and accumulate"),
    ("steps = 10", "steps = 10\nstep = 3", "unknown key 'step'"),
    ("steps = 10", "steps = 10\ntrains = 'head'", "trains must be one of tower, decoder, everything"),
    ("steps = 10", "steps = 10\nwarm_up = -1", "warm_up, skip_pictures and skip_questions"),
    ("steps = 10", "steps = 10\npatch_weight = -0.1", "patch_weight and word_weight must be 0 or more"),
    ("image_side = 84", "image_side = 85", "image_side must be a multiple of 14, divide 336"),
    ("image_side = 84", "image_side = 70", "image_side must be a multiple of 14, divide 336"),
    ("image_side = 84", "image_side = 0", "image_side must be a multiple of 14, divide 336"),
    ("image_side = 84", "image_side = -84", "image_side must be a multiple of 14, divide 336"),
    ("image_side = 84", "image_side = 672", "image_side must be a multiple of 14, divide 336"),
    ("first_rate = 1e-3", "first_rate = 0", "first_rate and last_rate must be above 0"),
    ("first_rate = 1e-3", "first_rate = nan", "first_rate and last_rate must be above 0"),
    ("last_rate = 1", "last_rate = inf", "first_rate and last_rate must be above 0"),
    ("easy_drawn = 0.5", "easy_drawn = 0.4", "mixture must be 0 or more and add up to 1"),
    ("scenes = 0.5, easy_drawn = 0.5", "scenes = 1.5, easy_drawn = -0.5", "mixture must be 0 or more and add up to 1"),
    ("scenes = 0.5", "scene = 0.5", "mixture has an unknown key 'scene'"),
    ("share = 0.25", "share = 1.25", "skipping.share must be 0 to 1"),
    ("num_retained = 9", "num_retained = -9", "num_retained and num_skipped must be 0 or more"),
    ("num_skipped = 9", "num_skipped = 0", "num_skipped above 0"),
    ("random_rule = false", "random_rule = 0", "random_rule must be of type bool"),
    ("most_items = 3", "most_items = 10", "most_items must be 1 to 9"),
    ("most_items = 3", "smallest = 0.9", "smallest must be above 0 and at most 0.8"),
    ("most_items = 3", "repeated = 2", "repeated must be 0 to 1"),
    ("most_items = 3", "thing = 0.9", "thing, shape and sign of contents must be 0 or more and add up to 1"),
    ("most_items = 3", "thing = 1.0, shape = 0.5, sign = -0.5", "thing, shape and sign of contents must be 0 or more"),
    ("count = 2", "counts = 2", "question_shares may name existence, count"),
    ("count = 2", "count = -2, existence = 1", "question_shares must be 0 or more"),
    ("count = 2", "count = '2'", "question_shares, count must be of type float"),
    ("count = 2", "count = true", "question_shares, count must be of type float"),
    ("count = 2", "count = 0", "question_shares must leave a share"),
]


@pytest.mark.parametrize(("line", "instead", "message"), BROKEN, ids=[f"{i} {m}" for i, (_, _, m) in enumerate(BROKEN)])
def test_broken_recipes_are_refused_by_name(tmp_path: Path, line: str, instead: str, message: str) -> None:
    text = RUN + STAGE
    assert text.count(line) == 1
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        load_recipe(written(tmp_path, text.replace(line, instead)))
    assert "mine.toml" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks 'seed'"),
        (RUN, "lacks 'stages'"),
        ("stages = []\n" + RUN, "no stages"),
        ("stages = 3\n" + RUN, "stages must be a list"),
        ("stages = [3]\n" + RUN, "stages 1 must be a table"),
        (RUN + STAGE + STAGE, "a name of its own"),
    ],
)
def test_recipes_without_proper_stages_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_recipe(written(tmp_path, text))


def test_unknown_recipes_are_answered_with_the_known(tmp_path: Path) -> None:
    for name in ("no-such", tmp_path, tmp_path / "no.toml", "recipe.py"):
        with pytest.raises(InputError, match="scenes-cpu"):
            load_recipe(name)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"seed = \xff\xfe")
    with pytest.raises(InputError, match="not valid TOML"):
        load_recipe(tmp_path / "mine.toml")
