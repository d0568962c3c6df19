"""The heat map of the FFN update: every place in its color, and what it weighs."""

from __future__ import annotations

import json
import re
from html import unescape

import hand_made
import numpy as np
import pytest
from every_method import CASES, trace_on
from PIL import Image

from app import palette
from app.charts.layer_load import layers_named, skips_sentence
from app.panels.tokens import layered_marks
from app.tokens.overlay import View, common_scale, looks_of, token_marks
from app.tokens.token_grids import TokenGrid
from app.tokens.update_map import in_words, map_picture, role_picture, row_height, update_map_cells, update_maps
from skipcore import Role, Trace, Vlm

GRIDS = [TokenGrid(Image.new("RGB", (64, 64)), np.arange(64).reshape(8, 8))]


@pytest.fixture(params=CASES)
def trace(request: pytest.FixtureRequest, tiny: Vlm, picture: Image.Image) -> Trace:
    return trace_on(tiny, picture, CASES[request.param][0])


def cells(picture: Image.Image, rows: int, columns: int) -> np.ndarray:
    """[rows, columns, pixels of a cell, RGBA]."""
    pixels = np.asarray(picture.convert("RGBA"))
    height, width = pixels.shape[0] // rows, pixels.shape[1] // columns
    return pixels.reshape(rows, height, columns, width, 4).transpose(0, 2, 1, 3, 4).reshape(rows, columns, -1, 4)


def test_every_place_has_the_color_of_its_update_a_hatch_or_nothing(trace: Trace) -> None:
    layers, slots = trace.ran_ffn.shape
    drawn = cells(map_picture(trace, common_scale([trace])), layers, slots)
    update = trace.ffn_update.float().numpy()
    ran, there = trace.ran_ffn.numpy(), trace.entered.numpy()
    assert (drawn[ran] == drawn[ran][:, :1]).all() and (drawn[ran][..., 3] == 255).all()
    assert (drawn[~there][..., 3] == 0).all()
    hatched = drawn[there & ~ran]
    opaque = hatched[hatched[..., 3] > 0][:, :3]
    assert (opaque == palette.rgb(palette.NO_FFN)).all()
    if len(hatched):
        assert 0.05 < (hatched[..., 3] > 0).mean() < 0.5
    # viridis grows lighter: order of colors is order of values
    light = drawn[ran][:, 0, :3].astype(float) @ (0.299, 0.587, 0.114)
    assert (np.diff(light[np.argsort(update[ran])]) > -3).all()


def test_what_was_not_recorded_has_no_picture() -> None:
    with pytest.raises(ValueError, match="record it"):
        map_picture(hand_made.trace(hand_made.DENSE, recorded=False), (0.01, 1.0))


def test_roles_differ_in_color_and_in_height(trace: Trace) -> None:
    [columns] = cells(role_picture(trace), 1, len(trace.slot_role))
    heights = {}
    for role, column in zip(trace.slot_role.tolist(), columns, strict=True):
        painted = column[column[:, 3] > 0][:, :3]
        assert (painted == palette.rgb(palette.ROLES[Role(role)])).all()
        heights.setdefault(role, set()).add(len(painted))
    assert all(len(found) == 1 for found in heights.values())
    assert len({height for found in heights.values() for height in found}) == len(heights)


@pytest.mark.parametrize("layers, height", [(1, 24), (5, 24), (28, 11), (80, 8)])
def test_a_deep_model_fits_a_page(layers: int, height: int) -> None:
    assert row_height(layers) == height


def test_cells_frame_the_layer_in_both_arms_and_the_column_where_there_is_one() -> None:
    dense, skip = update_map_cells(hand_made.report(), 5, 2)
    slots = [int(arm.trace.token_slot[5]) for arm in hand_made.report().arms]
    for markup, slot in zip((dense, skip), slots, strict=True):
        assert 'class="chosen" x="0" y="1" width="9" height="1"' in markup
        assert f'class="chosen" x="{slot}" y="0" width="1" height="3"' in markup
        assert f'data-row="1" data-column="{slot}"' in markup


def test_a_place_without_a_token_is_framed_in_its_arm_alone() -> None:
    at_token, picked = (update_map_cells(hand_made.report(), 5, 2, at) for at in (None, (1, 0)))
    assert picked[0] == at_token[0] and 'data-column="0"' in picked[1]
    assert 'class="chosen" x="0" y="0" width="1" height="3"' in picked[1]


def test_the_map_is_told_in_words() -> None:
    dense, skip = hand_made.report().arms
    assert in_words(dense).startswith("Dense: FFN update of 9 slots in 3 layers, at the median 0.14 in layer 1, ")
    maps = "".join(update_maps(hand_made.report()))
    assert maps.count("<img") == 4 and in_words(skip) in maps and maps.count("alt=") == 4


@pytest.mark.parametrize("view", View)
def test_layers_that_look_alike_are_drawn_once(trace: Trace, view: View) -> None:
    scale = common_scale([trace])
    drawn = [token_marks(GRIDS, trace, view, layer, scale)[0].convert("RGBA").tobytes() for layer in range(3)]
    looks = looks_of(trace, view)
    assert all(drawn[layer] == drawn[look] and look <= layer for layer, look in enumerate(looks))
    if view is not View.UPDATE:
        assert len(set(looks)) == len(set(drawn))
    markup = layered_marks(GRIDS, trace, view, 1, scale)
    sent = json.loads(unescape(re.search(r'data-layers="([^"]*)"', markup).group(1)))
    assert sent["looks"] == looks and set(sent["sheets"]) == {str(look) for look in looks}
    assert f'src="{sent["sheets"][str(looks[1])][0]}"' in markup and len(sent["words"]) == 3


@pytest.mark.parametrize(
    "chosen, words",
    [
        ([True] * 3, "every layer"),
        ([False, True, False], "layer 2"),
        ([True, True, True, False, True], "layers 1 to 3 and 5"),
        ([True, False, True, False, True, True], "layers 1, 3 and 5 to 6"),
    ],
)
def test_layers_have_names(chosen: list[bool], words: str) -> None:
    assert layers_named(chosen) == words


@pytest.mark.parametrize(
    "name, says",
    [
        ("DivPrune", "DivPrune: every layer runs in full for all that enters the decoder."),
        ("FastV", "FastV: places are gone in layers 2 to 3."),
        (
            "Skip-Vision",
            "Skip-Vision: the FFN is skipped in every layer; places that entered leave the KV cache of every layer.",
        ),
        ("ShortV", "ShortV: the FFN is skipped in layers 2 to 3; attention is skipped in layers 2 to 3."),
    ],
)
def test_which_layers_skip(tiny: Vlm, picture: Image.Image, name: str, says: str) -> None:
    assert skips_sentence(hand_made.arm(name, trace_on(tiny, picture, CASES[name][0]))) == says
