"""What is told apart by color alone stays apart for the color-blind and in grayscale; all else has a second cue."""

from __future__ import annotations

import re
from itertools import combinations, product

import hand_made
import numpy as np
import pytest

from app import palette
from app.charts.chart import DASHES
from app.charts.medians import update_medians
from app.charts.quality import MARKERS
from app.charts.race import SYMBOLS
from app.charts.timeline import timeline
from app.theme import CSS, theme
from app.tokens.cells import clear
from app.tokens.overlay import RAMP, _states
from app.tokens.token_states import State, TokenStates
from app.tokens.update_map import _HEIGHTS
from skipcore import METHODS

# Machado, Oliveira, Fernandes: A Physiologically-based Model for Simulation of Color Vision Deficiency, IEEE
# Transactions on Visualization and Computer Graphics 15 (6), 2009: severity 1.0, on linear RGB.
# Grayscale: the relative luminance of Rec. 709.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
    "grayscale": np.tile([0.2126, 0.7152, 0.0722], (3, 1)),
}
APART = 20.0
"""CIE Lab distance, nearly nine just noticeable differences (2.3: Mahy, Van Eycken, Oosterlinck 1994). Those are of
large patches side by side; bars and lines are small and lie apart."""
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
"""From linear sRGB (IEC 61966-2-1)."""

BY_DAY, BY_NIGHT = theme().body_background_fill, theme().body_background_fill_dark
INK_BY_NIGHT = re.findall(r"fill: rgb\(16, 16, 20\).*fill: (#\w{6})", CSS.read_text())[0]
"""What theme.css makes of `palette.INK`."""


def lab(color: str, vision: str) -> np.ndarray:
    """CIE Lab (D65) of "#0072B2" as somebody with this vision sees it."""
    encoded = np.array(palette.rgb(color)) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    seen = (VISIONS[vision] @ linear).clip(0, 1)
    shares = TO_XYZ @ seen / (TO_XYZ @ np.ones(3))
    x, y, z = np.where(shares > (6 / 29) ** 3, np.cbrt(shares), shares / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(one: str, other: str, vision: str) -> float:
    return float(np.linalg.norm(lab(one, vision) - lab(other, vision)))


def least(one: str, other: str) -> float:
    """The distance for those who see it worst."""
    return min(distance(one, other, vision) for vision in VISIONS)


def test_lab_is_right() -> None:
    assert lab("#FFFFFF", "normal") == pytest.approx([100, 0, 0], abs=0.02)
    assert lab("#FF0000", "normal") == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    for vision, matrix in VISIONS.items():
        assert matrix.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-5), vision  # grays stay as they are
    assert distance("#FF0000", "#5A5A00", "normal") > 80 > 30 > distance("#FF0000", "#5A5A00", "protanopia")


@pytest.mark.parametrize("vision", VISIONS)
def test_bars_of_both_arms_differ_by_color_alone(vision: str) -> None:
    assert distance(palette.INK, palette.SKIP_VISION, vision) > APART
    assert distance(INK_BY_NIGHT, palette.SKIP_VISION, vision) > APART


def test_phases_of_an_answer_have_one_color_and_differ_in_their_hatches() -> None:
    bars = timeline(hand_made.report()).data
    assert len({bar.marker.color for bar in bars}) == 1
    assert len({bar.marker.pattern.shape for bar in bars}) == len(bars) == 3


@pytest.mark.parametrize("paper, ink", [(BY_DAY, palette.INK), (BY_NIGHT, INK_BY_NIGHT)])
def test_lines_and_bars_stand_out_from_the_paper(paper: str, ink: str) -> None:
    drawn = {ink, palette.SKIP_VISION, palette.MERGED, palette.DROPPED, *palette.ROLES.values()}
    for color in drawn | {*palette.SPLITS, *palette.PEERS}:
        assert least(color, paper) > APART, color


@pytest.mark.parametrize("vision", VISIONS)
def test_magnitudes_grow_lighter(vision: str) -> None:
    lightness = [lab(color, vision)[0] for color in RAMP]
    assert (np.diff(lightness) > 0).all() and lightness[-1] - lightness[0] > 3 * APART


def too_close(colors: dict[str, str]) -> set[str]:
    """Pairs that somebody cannot tell apart by their colors."""
    return {f"{one}, {other}" for one, other in combinations(colors, 2) if least(colors[one], colors[other]) < APART}


def test_roles_that_look_alike_differ_in_height() -> None:
    colors = {role.name.lower(): color for role, color in palette.ROLES.items()}
    assert too_close(colors) == {"text, retained", "text, skipped", "text, summary", "skipped, summary"}
    assert len({round(12 * height) for height in _HEIGHTS.values()}) == len(palette.ROLES)


def test_medians_that_look_alike_differ_in_dash_and_marker() -> None:
    figure = update_medians(hand_made.report())
    assert figure is not None
    lines = {line.name: line for line in figure.data if line.xaxis == "x"}
    assert too_close({name: line.line.color for name, line in lines.items()}) == {
        "retained, text",
        "skipped, merged",
        "skipped, text",
        "merged, text",
    }
    assert len({line.marker.symbol for line in lines.values()}) == len(lines)


def test_splits_and_methods_differ_in_their_markers() -> None:
    assert len(too_close(dict(zip(MARKERS, palette.SPLITS, strict=True)))) == 6  # all of them, in grayscale
    assert len(set(MARKERS)) == len(palette.SPLITS)
    assert len(set(SYMBOLS)) == len(SYMBOLS) >= len(METHODS) - 2  # dense and Skip-Vision have their own
    assert len(set(DASHES)) == len(DASHES)


def test_every_mark_on_a_token_has_a_shape_of_its_own() -> None:
    """As on the picture, in one layer: all that can befall a token, told apart without colors."""
    kinds = list(product((State.WHOLE, State.NO_FFN, State.NO_ATTENTION, State.FROZEN), (True, False), (False, True)))
    count = len(kinds) + 2
    states = TokenStates(
        state=np.array([[kind for kind, _, _ in kinds] + [State.WHOLE, State.DROPPED]]),
        in_cache=np.array([[kept for _, kept, _ in kinds] + [False, False]]),
        merged=np.arange(count) == count - 2,
        reduced_from=np.array([0 if reduced else 1 for _, _, reduced in kinds] + [1, 1]),
        dropped_from=np.where(np.arange(count) == count - 1, 0, 1),
    )
    cell = 28
    sheet = _states(clear((1, count), cell), np.arange(count)[None], states, 0)
    shapes = {shape(sheet.inks[:, cell * token : cell * (token + 1)]) for token in range(count)}
    assert len(shapes) == count


def shape(inks: np.ndarray) -> bytes:
    """Which pixels have the same ink, whatever its color."""
    _, first, inverse = np.unique(inks, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.uint8).tobytes()
