"""The arms that are compared: the same recipe, but for what the steps skip."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from skipcore.builtin.training.recipe import Recipe, Skipping
from skipcore.builtin.training.runs import Run
from skipcore.builtin.training.runs import start as start_run
from skipcore.builtin.training.start import start_from
from skipcore.builtin.training.untrained import IMAGE_SIDE
from skipcore.errors import InputError


@dataclass(frozen=True)
class Arm:
    """One way to train: its name in files, how tables call it, and what its steps skip."""

    name: str
    title: str
    skipping: Skipping


ARMS = (
    Arm("dense", "(a) dense only", Skipping()),
    Arm(
        "skip",
        "(b) Skip-Vision 100+156",
        Skipping(share=1.0, num_retained=100, num_skipped=156, random_rule=False),
    ),
    Arm("mixed", "(c) mixed", Skipping(share=0.5)),
)
"""Dense comes first: the others are given in percent of it."""


def arm_recipe(recipe: Recipe, arm: Arm, steps: int | None = None) -> Recipe:
    """A recipe as one arm runs it: every step has the same pictures and questions in all arms, one question a row.

    Args:
        recipe: with one stage, of full-size pictures, that keeps the tower.
        steps: instead of the recipe's.

    Raises:
        InputError: the recipe is another kind of recipe.
    """
    if len(recipe.stages) != 1 or recipe.stages[0].trains != "decoder" or recipe.stages[0].image_side != IMAGE_SIDE:
        raise InputError(
            f"Recipe '{recipe.name}' cannot show the claim: it must have one stage, with trains = \"decoder\" and "
            f"image_side = {IMAGE_SIDE}. Take claim-cpu or claim-gpu, or change it."
        )
    stage = recipe.stages[0]
    steps = steps or stage.steps
    stage = replace(
        stage,
        steps=steps,
        warm_up=min(stage.warm_up, max(1, steps // 5)),
        one_question_a_row=True,
        skip_pictures=0,
        skip_questions=0,
        skipping=arm.skipping,
    )
    return replace(recipe, stages=(stage,))


def start_arms(recipe: Recipe, start: Path, steps: int | None, workers: int = 0) -> dict[str, Run]:
    """A run for each arm, all with the weights of the start folder.

    Raises:
        InputError: the recipe cannot show the claim or does not fit the start, or there are several processes.
    """
    runs = {}
    for arm in ARMS:
        run = start_run(arm_recipe(recipe, arm, steps), workers)
        if run.accelerator.num_processes > 1:
            raise InputError("The claim is measured in one process: start it without `accelerate launch`.")
        start_from(run, start)
        runs[arm.name] = run
    return runs
