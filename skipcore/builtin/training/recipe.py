"""A recipe: everything that fixes a training run, read from a small TOML file and checked before training."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from skipcore.builtin.questions.questions import KINDS
from skipcore.builtin.scenes.sample import MOST_ITEMS, Contents
from skipcore.builtin.scenes.words import THING_NAMES
from skipcore.builtin.training.untrained import IMAGE_SIDE, PATCH_SIDE, ModelSize
from skipcore.errors import InputError
from skipcore.typed import typed

RECIPES = Path(__file__).parent / "recipes"
Trains = Literal["tower", "decoder", "everything"]
LEAST_VOCABULARY = 259
"""256 bytes and three special tokens."""


@dataclass(frozen=True)
class Mixture:
    """Which share of the pictures is of which kind; the shares add up to 1."""

    scenes: float
    easy_vqa: float = 0.0
    easy_drawn: float = 0.0


@dataclass(frozen=True)
class Skipping:
    """Steps under Skip-Vision.

    Attributes:
        share: the share of steps that skip, evenly spread.
        num_retained, num_skipped: the counts; (0, 0) draws new ones for each step, few as often as many.
        random_rule: whether each step draws its retain rule; else "saliency".
    """

    share: float = 0.0
    num_retained: int = 0
    num_skipped: int = 0
    random_rule: bool = True


@dataclass(frozen=True)
class Stage:
    """Some steps with pictures of one size.

    Attributes:
        name: how logs call the stage.
        image_side: pictures are this many pixels wide and high; a multiple of the patch side, 336 at most.
        steps: updates of the weights.
        pictures: pictures in a step, over all processes and accumulated parts.
        questions: questions to each picture.
        first_rate, last_rate: the learning rate falls from one to the other along half a cosine.
        warm_up: steps of a straight rise to the first rate.
        tower_rate: the share of the learning rate that the tower learns at.
        trains: "tower" trains tower, projector and word embeddings on what patches show alone, "decoder" keeps the
            tower as it is, "everything" trains all of it on answers and patch labels.
        patch_weight, word_weight: weights of the patch loss and of the word alignment beside the loss of the answers.
        one_question_a_row: whether dense steps, too, give each question a row of its own, as steps that skip must.
        accumulate: parts a step is done in, to need less memory.
        skip_pictures, skip_questions: pictures and questions in a step that skips; 0: as in the others.
        contents: what the scenes hold.
        question_shares: how often each kind of question is asked; empty: the usual shares.
    """

    name: str
    image_side: int
    steps: int
    pictures: int
    questions: int
    first_rate: float
    last_rate: float
    warm_up: int = 20
    tower_rate: float = 1.0
    trains: Trains = "everything"
    patch_weight: float = 0.3
    word_weight: float = 0.0
    one_question_a_row: bool = False
    accumulate: int = 1
    skip_pictures: int = 0
    skip_questions: int = 0
    mixture: Mixture = field(default_factory=lambda: Mixture(scenes=1.0))
    skipping: Skipping = field(default_factory=Skipping)
    contents: Contents = field(default_factory=Contents)
    question_shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """Everything that fixes a run: with a recipe, the data of every step are the same on every machine.

    Attributes:
        name: of the recipe, and of the run's folder.
        seed: of the weights at the start and of all data.
        size: of the model.
        stages: run one after another.
        things: names of the things that the scenes of all stages hold; empty: all there are.
        weight_decay: of the matrices inside the layers.
        largest_gradient: gradients are clipped to this norm.
        mixed_precision: "bf16" computes in bfloat16 where that is safe.
    """

    name: str
    seed: int
    size: ModelSize
    stages: tuple[Stage, ...]
    things: tuple[str, ...] = ()
    weight_decay: float = 0.05
    largest_gradient: float = 1.0
    mixed_precision: Literal["no", "bf16"] = "no"


def names() -> list[str]:
    """The recipes that come with the library."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(name: str | Path) -> Recipe:
    """Read a recipe by name, or from a TOML file.

    Raises:
        InputError: there is no such recipe, or a value in it is missing, unknown or impossible; says which.
    """
    path = RECIPES / f"{name}.toml" if str(name) in names() else Path(name)
    if path.suffix != ".toml" or not path.is_file():
        raise InputError(f"There is no recipe '{name}'. Take one of {', '.join(names())}, or the path of a .toml file.")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML: {error}. Mend that line and run again.") from error
    recipe = typed(Recipe, {"name": path.stem, **values}, path.name)
    _check(recipe, path.name)
    return _with_things(recipe) if recipe.things else recipe


def _with_things(recipe: Recipe) -> Recipe:
    """The recipe with its things in the scenes of every stage."""
    stages = [replace(stage, contents=replace(stage.contents, things=recipe.things)) for stage in recipe.stages]
    return replace(recipe, stages=tuple(stages))


def _check(recipe: Recipe, file: str) -> None:
    """Refuse what could only fail later."""
    if not recipe.stages:
        raise InputError(f"{file} has no stages. Add at least one [[stages]] table.")
    _refuse_broken(_run_rules(recipe), file)
    _refuse_broken(_size_rules(recipe.size), f"{file}, size")
    for stage in recipe.stages:
        _refuse_broken({**_stage_rules(stage), **_data_rules(stage)}, f"{file}, stage '{stage.name}'")


def _refuse_broken(rules: Mapping[str, bool], where: str) -> None:
    for rule, holds in rules.items():
        if not holds:
            raise InputError(f"{where}: {rule}. Change that and run again.")


def _run_rules(recipe: Recipe) -> dict[str, bool]:
    return {
        "seed must be 0 or more, and below 2^63": 0 <= recipe.seed < 2**63,
        "weight_decay must be 0 or more": 0 <= recipe.weight_decay < math.inf,
        "largest_gradient must be above 0": recipe.largest_gradient > 0,
        "things must be names of the scenes' things": set(recipe.things) <= set(THING_NAMES),
        "each stage must have a name of its own": len({stage.name for stage in recipe.stages}) == len(recipe.stages),
    }


def _size_rules(size: ModelSize) -> dict[str, bool]:
    tower_step, decoder_step = math.lcm(4, max(1, size.tower_heads)), 2 * max(1, size.decoder_heads)
    least = f"vocabulary must be at least {LEAST_VOCABULARY}, the bytes and the special tokens"
    return {
        "widths, layers and heads must be at least 1": min(vars(size).values()) >= 1,
        "tower_width must be a multiple of tower_heads, and of 4": size.tower_width % tower_step == 0,
        "decoder_width must be a multiple of twice decoder_heads": size.decoder_width % decoder_step == 0,
        least: size.vocabulary >= LEAST_VOCABULARY,
    }


def _stage_rules(stage: Stage) -> dict[str, bool]:
    side, skipping = stage.image_side, stage.skipping
    numbers = (stage.steps, stage.pictures, stage.questions, stage.accumulate)
    weights, counts = (stage.patch_weight, stage.word_weight), (skipping.num_retained, skipping.num_skipped)
    fits = side >= PATCH_SIDE and side % PATCH_SIDE == 0 and IMAGE_SIDE % side == 0
    names = "skipping.num_retained and num_skipped"
    return {
        f"image_side must be a multiple of {PATCH_SIDE}, divide {IMAGE_SIDE}": fits,
        "steps, pictures, questions and accumulate must be at least 1": min(numbers) >= 1,
        "warm_up, skip_pictures and skip_questions must be 0 or more": min(
            stage.warm_up, stage.skip_pictures, stage.skip_questions
        )
        >= 0,
        "first_rate and last_rate must be above 0": 0 < stage.first_rate < math.inf and 0 < stage.last_rate < math.inf,
        "tower_rate must be above 0 and at most 1": 0 < stage.tower_rate <= 1,
        "patch_weight and word_weight must be 0 or more": min(weights) >= 0 and max(weights) < math.inf,
        "skipping.share must be 0 to 1": 0 <= skipping.share <= 1,
        f"{names} must be 0 or more, and num_skipped above 0 if num_retained is": min(counts) >= 0
        and (counts[0] == 0 or counts[1] > 0),
    }


def _data_rules(stage: Stage) -> dict[str, bool]:
    mixture, contents, shares = stage.mixture, stage.contents, stage.question_shares
    return {
        "the shares of mixture must be 0 or more and add up to 1": _are_shares(
            mixture.scenes, mixture.easy_vqa, mixture.easy_drawn
        ),
        "thing, shape and sign of contents must be 0 or more and add up to 1": _are_shares(
            contents.thing, contents.shape, contents.sign
        ),
        f"contents.most_items must be 1 to {MOST_ITEMS}": 1 <= contents.most_items <= MOST_ITEMS,
        "contents.smallest must be above 0 and at most 0.8": 0 < contents.smallest <= 0.8,
        "contents.repeated must be 0 to 1": 0 <= contents.repeated <= 1,
        f"question_shares may name {', '.join(KINDS)}": set(shares) <= set(KINDS),
        "question_shares must be 0 or more": all(0 <= share < math.inf for share in shares.values()),
        "question_shares must leave a share to existence, count or description": not shares
        or any(shares.get(kind, 0.0) > 0 for kind in ("existence", "count", "description")),
    }


def _are_shares(*shares: float) -> bool:
    return min(shares) >= 0 and abs(sum(shares) - 1) <= 1e-8
