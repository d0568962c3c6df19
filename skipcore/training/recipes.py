"""What was trained, stage by stage. A recipe and its seed fix the data of every step."""

from __future__ import annotations

from dataclasses import dataclass

from skipcore.training.model import ModelSize
from skipcore.training.questions import AS_EASY_VQA, EVERY_QUESTION, EasyShares, SceneShares


@dataclass(frozen=True)
class Mixture:
    """Which share of the pictures is of which kind."""

    easy_vqa: float
    easy_drawn: float
    scenes: float


@dataclass(frozen=True)
class Stage:
    """Some steps with pictures of one size.

    Attributes:
        image_side: pictures are this many pixels wide and high; a multiple of the patch side, 336 at most.
        pictures: pictures in a dense step.
        questions: questions to a picture in a dense step.
        skip_pictures, skip_questions: the same in a step under Skip-Vision.
        skip_share: the share of steps under Skip-Vision.
        most_shapes: the most shapes in a scene.
        first_rate, last_rate: the learning rate falls from one to the other along half a cosine.
        fall_steps: how many steps that fall takes, where the stage ends before it; 0: the stage's own.
        easy_shares, scene_shares: which questions are put to the easy pictures drawn here, and to scenes.
    """

    name: str
    image_side: int
    steps: int
    pictures: int
    questions: int
    first_rate: float
    last_rate: float
    warm_up: int
    mixture: Mixture
    skip_share: float = 0.0
    skip_pictures: int = 16
    skip_questions: int = 2
    most_shapes: int = 5
    fall_steps: int = 0
    easy_shares: EasyShares = AS_EASY_VQA
    scene_shares: SceneShares = EVERY_QUESTION


@dataclass(frozen=True)
class Recipe:
    """Everything that fixes a run."""

    name: str
    seed: int
    size: ModelSize
    stages: tuple[Stage, ...]
    weight_decay: float = 0.05
    largest_gradient: float = 1.0
    mixed_precision: str = "no"


# As it was run, with one difference: the rate of the first 80 steps of "336 px, everything" fell from 1e-3, not 8e-4.
# A stage with `fall_steps` was ended early, when the loss had shown what it would bring.
SCENES_CPU = Recipe(
    name="scenes-cpu",
    seed=7,
    size=ModelSize(),
    stages=(
        Stage(
            name="84 px, dense",
            image_side=84,
            steps=1500,
            pictures=24,
            questions=5,
            first_rate=2.5e-3,
            last_rate=1.5e-3,
            warm_up=60,
            mixture=Mixture(easy_vqa=0.25, easy_drawn=0.45, scenes=0.3),
            most_shapes=2,
        ),
        Stage(
            name="168 px, half of the steps skipping",
            image_side=168,
            steps=616,
            fall_steps=1700,
            pictures=16,
            questions=6,
            skip_pictures=16,
            skip_questions=3,
            first_rate=2e-3,
            last_rate=1e-3,
            warm_up=40,
            mixture=Mixture(easy_vqa=0.25, easy_drawn=0.4, scenes=0.35),
            skip_share=0.4,
            most_shapes=4,
        ),
        Stage(
            name="168 px, kinds",
            image_side=168,
            steps=308,
            fall_steps=900,
            pictures=20,
            questions=4,
            skip_pictures=20,
            skip_questions=2,
            first_rate=1e-3,
            last_rate=6e-4,
            warm_up=20,
            mixture=Mixture(easy_vqa=0.2, easy_drawn=0.6, scenes=0.2),
            skip_share=0.3,
            most_shapes=2,
            easy_shares=EasyShares(what_kind=0.7, whether_kind=0.7),
        ),
        Stage(
            name="168 px, what shape",
            image_side=168,
            steps=169,
            fall_steps=900,
            pictures=32,
            questions=1,
            first_rate=1.5e-3,
            last_rate=7e-4,
            warm_up=20,
            mixture=Mixture(easy_vqa=0.0, easy_drawn=1.0, scenes=0.0),
            easy_shares=EasyShares(what=0.9, what_kind=0.9, whether_kind=0.5),
        ),
        Stage(
            name="168 px, everything",
            image_side=168,
            steps=700,
            pictures=16,
            questions=6,
            skip_pictures=16,
            skip_questions=3,
            first_rate=1.2e-3,
            last_rate=8e-4,
            warm_up=20,
            mixture=Mixture(easy_vqa=0.25, easy_drawn=0.4, scenes=0.35),
            skip_share=0.5,
            most_shapes=4,
            easy_shares=EasyShares(what=0.35, whether_kind=0.5),
        ),
        Stage(
            name="168 px, mostly scenes",
            image_side=168,
            steps=502,
            fall_steps=650,
            pictures=16,
            questions=8,
            skip_pictures=16,
            skip_questions=4,
            first_rate=1.2e-3,
            last_rate=7e-4,
            warm_up=20,
            mixture=Mixture(easy_vqa=0.12, easy_drawn=0.13, scenes=0.75),
            skip_share=0.4,
            most_shapes=4,
            easy_shares=EasyShares(what=0.35, whether_kind=0.5),
        ),
        Stage(
            name="168 px, what color and what shape",
            image_side=168,
            steps=439,
            fall_steps=800,
            pictures=16,
            questions=5,
            skip_pictures=16,
            skip_questions=3,
            first_rate=1.2e-3,
            last_rate=8e-4,
            warm_up=20,
            mixture=Mixture(easy_vqa=0.05, easy_drawn=0.05, scenes=0.9),
            skip_share=0.25,
            most_shapes=3,
            scene_shares=SceneShares(
                presence=0.1, count=0.1, colour=0.3, kind=0.3, place=0.1, relation=0.0, listing=0.0, description=0.1
            ),
        ),
        Stage(
            name="168 px, which shape has the color",
            image_side=168,
            steps=280,
            fall_steps=800,
            pictures=32,
            questions=2,
            first_rate=1.5e-3,
            last_rate=8e-4,
            warm_up=20,
            mixture=Mixture(easy_vqa=0.0, easy_drawn=0.0, scenes=1.0),
            most_shapes=2,
            scene_shares=SceneShares(
                presence=0.0, count=0.05, colour=0.1, kind=0.85, place=0.0, relation=0.0, listing=0.0, description=0.0
            ),
        ),
        Stage(
            name="336 px, everything",
            image_side=336,
            steps=380,
            pictures=8,
            questions=8,
            skip_pictures=8,
            skip_questions=4,
            first_rate=8e-4,
            last_rate=2e-5,
            warm_up=20,
            mixture=Mixture(easy_vqa=0.25, easy_drawn=0.15, scenes=0.6),
            skip_share=0.5,
            most_shapes=4,
            easy_shares=EasyShares(what=0.35, whether_kind=0.5),
            scene_shares=SceneShares(
                presence=0.2, count=0.2, colour=0.2, kind=0.2, place=0.08, relation=0.02, listing=0.02, description=0.08
            ),
        ),
        Stage(
            name="336 px, everything again",
            image_side=336,
            steps=650,
            pictures=8,
            questions=8,
            skip_pictures=8,
            skip_questions=4,
            first_rate=6e-4,
            last_rate=1e-5,
            warm_up=10,
            mixture=Mixture(easy_vqa=0.2, easy_drawn=0.1, scenes=0.7),
            skip_share=0.5,
            most_shapes=4,
            easy_shares=EasyShares(what=0.35, whether_kind=0.5),
            scene_shares=SceneShares(
                presence=0.2, count=0.2, colour=0.2, kind=0.2, place=0.08, relation=0.02, listing=0.02, description=0.08
            ),
        ),
    ),
)

RECIPES = {recipe.name: recipe for recipe in (SCENES_CPU,)}
