"""The token overlay: every token in its place, in its color."""

from __future__ import annotations

import hand_made
import numpy as np
import pytest
from PIL import Image

from app import palette
from app.tokens.overlay import (
    LONGEST_SIDE,
    View,
    common_scale,
    plain_pictures,
    ramp_colors,
    share_of_scale,
    token_marks,
)
from app.tokens.token_grids import TokenGrid, token_grids
from skipcore.model.vlm import ShownTile

CELL = LONGEST_SIDE // 3
RED = Image.new("RGB", (60, 40), (200, 30, 30))


def grids(pictures: int) -> list[TokenGrid]:
    return token_grids([RED] * pictures, [[hand_made.WHOLE]] * pictures)


def draw(view: View, plan=hand_made.SKIPPING, layer: int = 0, **changes) -> np.ndarray:
    """The one picture of the hand-made trace under its marks, as cells [rows, columns, pixels of a cell, RGB]."""
    [marks] = token_marks(grids(1), hand_made.trace(plan, **changes), view, layer, (0.01, 1.0))
    pixels = np.asarray(hand_made.under(plain_pictures(grids(1))[0], marks)).reshape(2, CELL, 3, CELL, 3)
    return pixels.transpose(0, 2, 1, 3, 4)


def holds(cell: np.ndarray, color: str) -> bool:
    """Whether any pixel of a cell has this color."""
    return bool((cell == palette.rgb(color)).all(axis=-1).any())


def test_the_size_is_whole_cells() -> None:
    [plain], [marks] = plain_pictures(grids(1)), token_marks(grids(1), hand_made.trace(hand_made.DENSE), View.STATE, 0)
    assert plain.size == marks.size == (3 * CELL, 2 * CELL)


def test_states_are_outlined_in_their_colors() -> None:
    cells = draw(View.STATE)
    for row, column in [(0, 0), (1, 2)]:
        assert holds(cells[row, column], palette.RETAINED) and not holds(cells[row, column], palette.SKIPPED)
    for row, column in [(0, 1), (1, 1)]:
        assert holds(cells[row, column], palette.SKIPPED) and not holds(cells[row, column], palette.RETAINED)
    for row, column in [(0, 2), (1, 0)]:
        assert not holds(cells[row, column], palette.SKIPPED) and not holds(cells[row, column], palette.RETAINED)


def test_tokens_that_run_in_full_show_the_picture_and_merged_ones_fade() -> None:
    cells = draw(View.STATE)
    middle = slice(CELL // 2 - 5, CELL // 2 + 5)
    assert (cells[0, 0][middle, middle] == (200, 30, 30)).all()
    merged = cells[0, 2][middle, middle].astype(int)
    assert np.ptp(merged, axis=-1).max() < 60 < np.ptp([200, 30, 30])


def test_skipped_tokens_are_hatched_for_the_color_blind() -> None:
    inside = draw(View.STATE)[0, 1][CELL // 4 : -CELL // 4, CELL // 4 : -CELL // 4].astype(int)
    assert inside.sum(axis=-1).std() > 10  # lines, not a flat tint


def test_dense_marks_every_token_as_running_in_full() -> None:
    cells = draw(View.STATE, hand_made.DENSE)
    assert all(holds(cells[row, column], palette.RETAINED) for row in range(2) for column in range(3))


def test_updates_color_what_ran_and_hatch_what_did_not() -> None:
    cells = draw(View.UPDATE, layer=1)
    ran, skipped = cells[0, 0], cells[0, 1]
    assert ran.reshape(-1, 3).std(axis=0).max() < 1  # one color
    assert np.ptp(skipped.astype(int), axis=-1).max() < 40  # nearly gray, hatched
    assert skipped.astype(int).sum(axis=-1).std() > 10


def test_updates_grow_along_the_ramp() -> None:
    low, high = (draw(View.UPDATE, hand_made.DENSE, layer)[0, 0].mean(axis=(0, 1)) for layer in (0, 2))
    assert high[1] > low[1]  # viridis goes from violet to green


def test_updates_that_were_not_recorded_are_not_zero() -> None:
    cells = draw(View.UPDATE, hand_made.DENSE, recorded=False)
    assert np.ptp(cells.astype(int), axis=-1).max() < 40


def test_merges_point_from_each_merged_token_to_its_taker() -> None:
    cells = draw(View.MERGES)
    for row, column in [(0, 1), (0, 2), (1, 0), (1, 1)]:
        assert holds(cells[row, column], palette.SKIPPED)
    assert not holds(cells[0, 0], palette.SKIPPED) and not holds(cells[1, 2], palette.SKIPPED)


@pytest.mark.parametrize("view", View)
def test_two_pictures_show_their_own_tokens(view: View) -> None:
    first, second = token_marks(grids(2), hand_made.trace(hand_made.SKIPPING, 2), view, 0, (0.01, 1.0))
    assert first.size == second.size and first.width * 2 == first.height * 3
    if view is not View.UPDATE:  # same plan, same picture
        assert first.tobytes() == second.tobytes()


def test_tiles_side_by_side_are_one_grid_and_the_whole_picture_another() -> None:
    """As SmolVLM and InternVL look at a picture: two rows of three tiles, then the whole."""
    picture = Image.fromarray(np.arange(60 * 40 * 3, dtype=np.uint8).reshape(40, 60, 3))
    parts = [
        ShownTile((2, 2), (column / 3, row / 2, (column + 1) / 3, (row + 1) / 2))
        for row in range(2)
        for column in range(3)
    ]
    side_by_side, whole = token_grids([picture], [[*parts, ShownTile((3, 3), (0.0, 0.0, 1.0, 1.0))]])
    assert side_by_side.picture.size == whole.picture.size == (60, 40)
    assert side_by_side.tokens.tolist() == [
        [0, 1, 4, 5, 8, 9],
        [2, 3, 6, 7, 10, 11],
        [12, 13, 16, 17, 20, 21],
        [14, 15, 18, 19, 22, 23],
    ]
    assert whole.tokens.tolist() == [[24, 25, 26], [27, 28, 29], [30, 31, 32]]


def test_a_cropped_picture_shows_what_the_model_saw() -> None:
    picture = Image.new("RGB", (60, 40))
    [grid] = token_grids([picture], [[ShownTile((4, 4), (1 / 6, 0.0, 5 / 6, 1.0))]])
    assert grid.picture.size == (40, 40) and grid.tokens.shape == (4, 4)


def test_as_many_pictures_as_tiles() -> None:
    with pytest.raises(ValueError):
        token_grids([RED], [[hand_made.WHOLE], [hand_made.WHOLE]])


def test_the_scale_is_of_what_ran() -> None:
    trace = hand_made.trace(hand_made.SKIPPING)
    low, high = common_scale([trace])
    assert trace.ffn_update is not None
    assert np.nanmin(trace.ffn_update) <= low < high <= np.nanmax(trace.ffn_update)
    assert common_scale([hand_made.trace(hand_made.DENSE, recorded=False)]) == common_scale([]) == (0.01, 1.0)


def test_the_scale_is_logarithmic_and_keeps_what_is_missing_apart() -> None:
    shares = share_of_scale(np.array([0.0, 0.01, 0.1, 1.0, 5.0, np.nan]), (0.01, 1.0))
    assert np.allclose(shares[:5], [0, 0, 0.5, 1, 1]) and np.isnan(shares[5])


def test_the_ramp_ends_where_it_says() -> None:
    colors = ramp_colors(np.array([-1.0, 0.0, 1.0, 7.0]))
    assert colors[0].tolist() == colors[1].tolist() == list(palette.rgb(palette.RAMP[0]))
    assert colors[2].tolist() == colors[3].tolist() == list(palette.rgb(palette.RAMP[-1]))
