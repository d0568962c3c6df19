"""Scenes: the same for a seed everywhere, drawn where the record says, with what is held out kept out."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skipcore.builtin.questions.questions import ask_several
from skipcore.builtin.scenes.draw import draw, draw_with_owners
from skipcore.builtin.scenes.sample import Contents, sample_scene
from skipcore.builtin.scenes.scene_record import Background, Item, Scene, Shape, Sign, Spot, Thing
from skipcore.builtin.scenes.splits import (
    CELLS,
    SPLITS,
    Split,
    cell_of,
    is_pair_held_out,
    is_place_held_out,
    is_style_held_out,
    seed_of,
)
from skipcore.builtin.scenes.things import THINGS
from skipcore.builtin.scenes.vocabulary import COLORS

PLAIN = Background("plain", (240, 240, 240), (240, 240, 240), 0)
FEW = Contents(most_items=2, smallest=0.4)
ONE = Contents(most_items=1)
SIZES = [(336, 336), (84, 84), (300, 120), (90, 240), (40, 56)]
# The package without its __init__, which would load torch: much of a minute on a busy machine.
ELSEWHERE = """
import sys, types
package = types.ModuleType("skipcore")
package.__path__ = ["skipcore"]
sys.modules["skipcore"] = package
import test_scenes
print(test_scenes.fingerprint(12))
"""


def scenes(split: Split, number: int, contents: Contents | None = None) -> Iterator[Scene]:
    for seed in range(number):
        rng = np.random.default_rng(seed_of(split, seed))
        yield sample_scene(rng, split, contents or Contents())


def fingerprint(number: int) -> str:
    """Of records, pixels and questions of every split."""
    found = hashlib.sha256()
    for split in SPLITS:
        for scene in scenes(split, number):
            found.update(repr(scene).encode())
            found.update(draw(scene, 97, 64).tobytes())
            found.update(repr(ask_several(scene, np.random.default_rng(1), 4)).encode())
    return found.hexdigest()


def test_a_seed_fixes_the_scene() -> None:
    for split in SPLITS:
        assert list(scenes(split, 20)) == list(scenes(split, 20))
    assert len({repr(scene) for split in SPLITS for scene in scenes(split, 100)}) == 100 * len(SPLITS)


def test_another_process_makes_the_same_scenes_pictures_and_questions() -> None:
    """With another hash seed, in which the order of sets differs."""
    result = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        cwd=Path(__file__).resolve().parents[3],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == fingerprint(12)


def test_no_two_splits_share_a_random_state() -> None:
    numbers = [(), *((seed,) for seed in range(200)), *((11, stage, step, 0) for stage in (0, 1) for step in (0, 7))]
    numbers += [(2**32 + 1,), (2**40,)]
    for one in SPLITS:
        mine = {np.random.default_rng(seed_of(one, *n)).integers(2**63) for n in numbers if n}
        others = {
            np.random.default_rng(seed_of(other, *n)).integers(2**63)
            for other in SPLITS
            if other != one
            for n in numbers
        }
        assert not mine & others
        assert len(mine) == len(numbers) - 1


@pytest.mark.parametrize("contents", [Contents(), FEW, ONE], ids=["usual", "few", "one"])
@pytest.mark.parametrize("split", SPLITS)
def test_what_is_held_out_is_kept_out(split: Split, contents: Contents) -> None:
    """A large item fits into the middle only, where its thing may be held out; some of these seeds draw such items."""
    for scene in scenes(split, 900 if contents is not FEW else 600, contents):
        assert 1 <= len(scene.items) <= contents.most_items
        places = [is_place_held_out(each.name, cell_of(each.spot.x, each.spot.y)) for each in scene.things]
        styles = [is_style_held_out(each.name, each.style) for each in scene.things]
        assert any(places) == (split == "combinations")
        assert all(styles) and styles if split == "style" else not any(styles)
        assert len(scene.signs) <= 2


def test_scenes_are_never_empty() -> None:
    """Seeds whose first draw finds no place for the only item."""
    for split, seed, contents in [("train", 6036, Contents()), ("train", 406, FEW), ("combinations", 65, Contents())]:
        assert sample_scene(np.random.default_rng(seed_of(split, seed)), split, contents).items


def test_what_is_held_out_is_some_of_everything() -> None:
    places = np.mean([is_place_held_out(kind.name, cell) for kind in THINGS for cell in CELLS])
    pairs = np.mean([is_pair_held_out(a.name, b.name) for a in THINGS for b in THINGS if a is not b])
    styles = np.mean([is_style_held_out(kind.name, "noto") for kind in THINGS])
    assert 0.03 < places < 0.09 and 0.03 < pairs < 0.09 and 0.25 < styles < 0.42
    assert not any(is_style_held_out(kind.name, style) for kind in THINGS for style in ("twemoji", "fluent"))
    assert all(is_pair_held_out(a.name, b.name) == is_pair_held_out(b.name, a.name) for a in THINGS for b in THINGS)


@pytest.mark.parametrize(
    ("x", "y", "cell"),
    [(0, 0, "top left"), (0.5, 0.5, "middle"), (1, 1, "bottom right"), (0.34, 0.1, "top"), (0.9, 0.4, "right")],
)
def test_cells(x: float, y: float, cell: str) -> None:
    assert cell_of(x, y) == cell


def test_contents_are_kept_to() -> None:
    only_signs = Contents(most_items=2, thing=0, shape=0, sign=1)
    for scene in scenes("train", 50, only_signs):
        assert scene.signs == scene.items
    for scene in scenes("train", 100, FEW):
        assert all(item.spot.size >= 0.4 for item in scene.items)
    counts = np.bincount([len(scene.items) for scene in scenes("train", 900)], minlength=10)
    assert counts[0] == 0 and counts[1:].min() > 50


def test_colors_stand_out_from_the_ground() -> None:
    for scene in scenes("train", 300):
        for item in (*scene.shapes, *scene.signs):
            ground = np.array([scene.background.rgb, scene.background.other])
            assert np.linalg.norm(ground - item.rgb, axis=1).min() > 85
            nearest = min(COLORS, key=lambda name: np.linalg.norm(np.subtract(COLORS[name], item.rgb)))
            assert nearest == item.color


def pixels_of(item: Item, size: tuple[int, int]) -> np.ndarray:
    """Which pixels an item takes where nothing covers it. [height, width] bool"""
    return draw_with_owners(Scene(PLAIN, (item,)), *size)[1] == 1


def test_items_lie_inside_the_picture_and_stay_visible() -> None:
    """Of 500 scenes: the least visible item still shows three quarters of itself, the most cut one nine tenths."""
    least_visible = least_inside = 1.0
    for scene in scenes("test", 500):
        owners = draw_with_owners(replace(scene, background=PLAIN), 120)[1]
        for number, item in enumerate(scene.items, start=1):
            margin = item.spot.size / 2
            assert margin <= item.spot.x <= 1 - margin and margin <= item.spot.y <= 1 - margin
            alone = pixels_of(item, (120, 120)).sum()
            least_visible = min(least_visible, (owners == number).sum() / alone)
            if item.spot.angle:  # a turned one may lose a corner
                middle = replace(item, spot=replace(item.spot, x=0.5, y=0.5))
                least_inside = min(least_inside, alone / pixels_of(middle, (120, 120)).sum())
    assert least_visible > 0.7
    assert least_inside > 0.88


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_items_are_drawn_where_the_record_says(size: tuple[int, int]) -> None:
    """The middle of an item's pixels is near its spot, at every size and shape of picture."""
    width, height = size
    checked = 0
    for scene in scenes("validation", 40):
        image, owners = draw_with_owners(scene, width, height)
        assert image.size == size and image.mode == "RGB" and owners.shape == (height, width)
        assert np.asarray(draw(scene, width, height)).tobytes() == np.asarray(image).tobytes()
        for number, item in enumerate(scene.items, start=1):
            shown = owners == number
            if not np.array_equal(shown, pixels_of(item, size)):
                continue
            rows, columns = np.nonzero(shown)
            across, down = item.spot.x * width, item.spot.y * height
            extent = item.spot.size * min(size)
            assert np.hypot(columns.mean() + 0.5 - across, rows.mean() + 0.5 - down) < 0.25 * extent + 1
            if item.spot.angle == 0 and isinstance(item, Thing | Sign):  # these are centerd by their bounding boxes
                assert abs((columns.min() + columns.max() + 1) / 2 - across) < 2.1
                assert abs((rows.min() + rows.max() + 1) / 2 - down) < 2.1
                longest = max(np.ptp(columns), np.ptp(rows)) + 1
                assert extent - max(4, 0.05 * extent) < longest < extent + 2.5  # thin ends may be too faint to count
            checked += 1
    assert checked > 100


def test_a_square_picture_needs_no_height() -> None:
    scene = next(scenes("test", 1))
    assert np.array_equal(np.asarray(draw(scene, 50)), np.asarray(draw(scene, 50, 50)))


def test_shapes_have_their_color() -> None:
    for kind in ("circle", "rectangle", "triangle", "star", "diamond", "cross"):
        shape = Shape(kind, "red", (222, 40, 44), Spot(0.3, 0.6, 0.4, 11.0))
        pixels = np.asarray(draw(Scene(PLAIN, (shape,)), 100))
        assert tuple(pixels[60, 30]) == (222, 40, 44), kind
        assert tuple(pixels[5, 5]) == (240, 240, 240)


def test_later_items_cover_earlier_ones() -> None:
    below = Shape("circle", "red", (222, 40, 44), Spot(0.4, 0.5, 0.4))
    above = Shape("circle", "blue", (36, 92, 228), Spot(0.6, 0.5, 0.4))
    image, owners = draw_with_owners(Scene(PLAIN, (below, above)), 100)
    assert owners[50, 50] == 2 and owners[50, 25] == 1 and owners[5, 5] == 0
    assert image.getpixel((50, 50)) == (36, 92, 228)


@pytest.mark.parametrize("kind", ["plain", "gradient", "texture", "clutter"])
def test_grounds(kind: str) -> None:
    ground = Background(kind, (200, 120, 40), (60, 180, 220), 5)
    pixels = np.asarray(draw(Scene(ground, ()), 60, 40)).reshape(-1, 3)
    assert (len(np.unique(pixels, axis=0)) == 1) == (kind == "plain")
    low, high = np.minimum(ground.rgb, ground.other), np.maximum(ground.rgb, ground.other)
    assert (pixels >= low - 1).all() and (pixels <= high + 1).all()
    other = replace(ground, seed=6)
    assert (kind == "plain") == np.array_equal(pixels, np.asarray(draw(Scene(other, ()), 60, 40)).reshape(-1, 3))
