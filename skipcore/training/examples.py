"""The example pictures of the page: drawn scenes, each with a question."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from skipcore.training.scenes import draw, draw_easy, sample_easy_scene, sample_scene

SIDE = 480


@dataclass(frozen=True)
class ExamplePicture:
    """A picture and the question it comes with; the scene is the seed's."""

    name: str
    seed: int
    question: str
    most_shapes: int = 5
    is_easy: bool = False

    def draw(self) -> Image.Image:
        """The picture, 480 x 480."""
        rng = np.random.default_rng(self.seed)
        if self.is_easy:
            return draw_easy(sample_easy_scene(rng)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        return draw(sample_scene(rng, self.most_shapes), SIDE)


EXAMPLES = (
    ExamplePicture("three-shapes.png", 43, "What colors are there?"),
    ExamplePicture("gray-triangle.png", 4, "What shape is in the image?", is_easy=True),
    ExamplePicture("two-shapes.png", 38, "How many shapes are there?"),
    ExamplePicture("purple-circle.png", 34, "Describe the picture."),
    ExamplePicture("four-shapes.png", 12, "Is there a blue circle?"),
    ExamplePicture("three-circles.png", 31, "How many shapes do you see?"),
)


def write(folder: Path) -> None:
    """Draw every example into a folder, with `examples.json` beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    for example in EXAMPLES:
        example.draw().save(folder / example.name, optimize=True)
    listed = [{"image": example.name, "question": example.question} for example in EXAMPLES]
    (folder / "examples.json").write_text(json.dumps(listed, indent=2) + "\n")
