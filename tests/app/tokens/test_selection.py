"""The selected token: which it is, where it lies, what it became one with, and what its card says of it."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from typing import Any

import hand_made
import numpy as np
import pytest
from every_method import CASES, trace_on
from PIL import Image

from app.tokens.selection import (
    Cell,
    Location,
    cell_of,
    first_choice,
    group_of,
    layer_number,
    location_of,
    marks_of,
    picture_cells,
    slot_in_map,
    token_on_picture,
    update_of,
)
from app.tokens.token_card import (
    close_up,
    merges_sentence,
    no_token,
    sparkline,
    states_sentence,
    token_and_tile,
    token_card,
    values_text,
)
from app.tokens.token_grids import TokenGrid
from app.tokens.token_states import State, phrase, token_states
from skipcore import Dense, Role, Trace, Vlm
from skipcore.model.vlm import ShownTile

GRAY = Image.new("RGB", (60, 40), (150, 150, 150))
GRIDS = [TokenGrid(GRAY, np.arange(6).reshape(2, 3)), TokenGrid(GRAY, 6 + np.arange(6).reshape(2, 3))]
SKIPPING = hand_made.trace(hand_made.SKIPPING)


@pytest.fixture(params=CASES)
def trace(request: pytest.FixtureRequest, tiny: Vlm, picture: Image.Image) -> Trace:
    """Of every method: 64 tokens in 3 layers."""
    return trace_on(tiny, picture, CASES[request.param][0])


@pytest.mark.parametrize(
    "sent, cell",
    [
        ({"grid": 0, "row": 1, "column": 2}, Cell(0, 1, 2)),
        ({"grid": 0, "row": 1, "column": 2, "more": "?"}, Cell(0, 1, 2)),
        ({"grid": 0, "row": 1}, None),
        ({"grid": 0, "row": -1, "column": 2}, None),
        ({"grid": 0, "row": 1.5, "column": 2}, None),
        ({"grid": True, "row": 1, "column": 2}, None),
        ({"grid": "0", "row": 1, "column": 2}, None),
        ({"grid": 0, "row": None, "column": [2]}, None),
        ([0, 1, 2], None),
        ("0", None),
        (None, None),
    ],
)
def test_what_the_browser_sends_is_a_cell_or_nothing(sent: Any, cell: Cell | None) -> None:
    assert cell_of(sent) == cell


@pytest.mark.parametrize(
    "cell, token",
    [
        (Cell(0, 0, 0), 0),
        (Cell(0, 1, 2), 5),
        (Cell(1, 1, 0), 9),
        (Cell(0, 2, 0), None),
        (Cell(0, 0, 3), None),
        (Cell(2, 0, 0), None),
        (None, None),
    ],
)
def test_a_cell_of_a_picture_is_its_token(cell: Cell | None, token: int | None) -> None:
    assert token_on_picture(GRIDS, cell) == token


@pytest.mark.parametrize(
    "cell, found",
    [
        (Cell(0, 2, 8), (0, 2, 8)),
        (Cell(1, 0, 8), (1, 0, 8)),
        (Cell(0, 3, 0), None),
        (Cell(0, 0, 9), None),
        (Cell(2, 0, 0), None),
        (None, None),
    ],
)
def test_a_cell_of_a_heat_map_is_arm_layer_and_slot(cell: Cell | None, found: tuple[int, int, int] | None) -> None:
    assert slot_in_map(hand_made.report(), cell) == found


@pytest.mark.parametrize("layer, number", [(1, 0), (3, 2), (9, 2), (0, 0), (-4, 0)])
def test_the_slider_counts_from_one_and_ends_with_the_trace(layer: int, number: int) -> None:
    assert layer_number(SKIPPING, layer) == number


def test_places_are_those_of_tiles_and_pictures() -> None:
    two = hand_made.trace(hand_made.SKIPPING, 2)
    assert location_of(two, 4) == Location(0, 2, 0, 1, 1, 1)
    assert location_of(two, 11) == Location(1, 2, 0, 1, 1, 2)
    with pytest.raises(IndexError, match="12 visual tokens"):
        location_of(two, 12)
    assert token_and_tile(location_of(two, 11), 11, 12) == "Token 12 of 12, picture 2 of 2."
    assert token_and_tile(Location(0, 1, 2, 5, 0, 0), 0, 320) == "Token 1 of 320, tile 3 of 5."


def test_every_token_is_in_the_group_of_all_its_members(trace: Trace) -> None:
    for token in range(64):
        group = group_of(trace, token)
        assert token in group and (np.diff(group) > 0).all()
        assert all((group_of(trace, int(other)) == group).all() for other in group)
        assert (len(group) > 1) == bool(trace.merged[group].any() and trace.token_slot[token] >= 0)


def test_the_first_choice_tells_something(trace: Trace) -> None:
    token = first_choice(trace)
    treated = token_states(trace).state.any(axis=0)
    if trace.merged.any():
        assert len(group_of(trace, token)) > 1 and not trace.merged[token]
    else:
        assert treated[token] == treated.any()


def test_a_token_has_its_own_mark_in_every_layer(trace: Trace) -> None:
    states = token_states(trace)
    for token in range(0, 64, 7):
        found = marks_of(trace, token)
        assert len(found) == 3
        for layer, mark in enumerate(found):
            gone = states.state[layer, token] == State.DROPPED
            assert (mark.state == State.DROPPED) == gone
            assert mark.merged == (bool(states.merged[token]) and not gone)
            if gone:
                assert mark.since == (states.dropped_from[token],)
            elif not mark.merged:
                assert mark.state == states.state[layer, token] and mark.reduced == bool(mark.since)
        assert all(phrase(mark) in states_sentence(found) for mark in found)


def test_the_card_tells_of_every_method(trace: Trace, tiny: Vlm, picture: Image.Image) -> None:
    dense = trace_on(tiny, picture, Dense())
    report = hand_made.report(hand_made.arm("Dense", dense), hand_made.arm("a <method>", trace))
    report = replace(report, pictures=(picture,), tiles=((ShownTile((8, 8), (0.0, 0.0, 1.0, 1.0)),),))
    for token in range(0, 64, 7):
        for arm in (0, 1):
            card = token_card(report, arm, token, 1)
            row, column = divmod(token, 8)
            assert f"Row {row + 1}, column {column + 1}" in card and f"Token {token + 1} of 64." in card
            assert card.count("</li>") == 3 and card.count('aria-current="true"') == 1
            assert 'class="sparkline"' in card and "nan" not in card and "<method>" not in card
            values = re.search(r"Dense</dt><dd>([^<]*)<", card).group(1)
            expected = dense.ffn_update[:, dense.token_slot[token]].tolist()
            assert np.allclose([float(value) for value in values.split(" · ")], expected, rtol=0.006)


@pytest.mark.parametrize(
    "token, says",
    [
        (0, "Merged with no other; it has slot 2 of 9 in the decoder's sequence."),
        (1, "1 other was merged into it; it has slot 5 of 9 in the decoder's sequence."),
        (2, "Merged into the token at row 1, column 2; it shares slot 5 of 9 in the decoder's sequence."),
    ],
)
def test_company_in_words(token: int, says: str) -> None:
    slot = int(SKIPPING.token_slot[token]) + 1
    assert merges_sentence(SKIPPING, token) == re.sub(r"slot \d", f"slot {slot}", says)


def test_what_was_dropped_before_the_decoder_has_no_slot(tiny: Vlm, picture: Image.Image) -> None:
    trace = trace_on(tiny, picture, CASES["DivPrune"][0])
    token = int((trace.token_slot < 0).nonzero()[0, 0])
    assert merges_sentence(trace, token) == "It never gets a slot in the decoder's sequence."
    assert states_sentence(marks_of(trace, token)) == "Layers 1 to 3: dropped before the decoder."
    update = update_of(trace, token)
    assert update is not None and values_text(update) == "no FFN · no FFN · no FFN"


def test_what_was_not_recorded_is_said() -> None:
    trace = hand_made.trace(hand_made.DENSE, recorded=False)
    card = token_card(hand_made.report(hand_made.arm("Dense", trace)), 0, 0, 0)
    assert "was not recorded" in card and "sparkline" not in card


def test_a_slot_without_a_token_says_what_it_holds() -> None:
    names = {Role.TEXT: "holds text.", Role.SUMMARY: "holds a summary token, "}
    slots = (SKIPPING.slot_token < 0).nonzero().flatten().tolist()
    assert {int(SKIPPING.slot_role[slot]) for slot in slots} == set(names)
    for slot in slots:
        told = unescape(no_token(SKIPPING, slot))
        assert f"Slot {slot + 1} of 9 in the decoder's sequence {names[Role(int(SKIPPING.slot_role[slot]))]}" in told
        assert "in 3 of 3 layers" in told and values_text(SKIPPING.ffn_update[:, slot].numpy()) in told


def test_cells_frame_the_token_and_its_group() -> None:
    first, second = picture_cells(GRIDS, 4, np.array([3, 4, 7])).split("</svg>")[:2]
    assert first.count('class="chosen" x="1" y="1"') == 1 and first.count('class="other" x="0" y="1"') == 1
    assert 'data-row="1" data-column="1"' in first and 'data-rows="2" data-columns="3"' in first
    assert "chosen" not in second and second.count('class="other" x="1" y="0"') == 1


def test_the_close_up_has_the_token_in_its_middle() -> None:
    picture = Image.new("RGB", (60, 40), (150, 150, 150))
    picture.paste((200, 30, 30), (0, 0, 20, 20))
    small = np.asarray(close_up([TokenGrid(picture, np.arange(6).reshape(2, 3))], 0))
    assert small.shape == (100, 100, 3) and tuple(small[50, 50]) == (200, 30, 30)
    assert tuple(small[50, 70]) == (150, 150, 150) and tuple(small[5, 5]) == (154, 157, 162)


def test_a_sparkline_leaves_gaps_where_no_ffn_ran() -> None:
    drawn = sparkline([("arm-0", np.array([0.1, np.nan, 0.2, 0.4])), ("arm-1", np.full(4, np.nan))], 2, "it")
    assert 'aria-label="it"' in drawn and drawn.count("<circle") == 3
    [path] = re.findall(r'<path d="([^"]*)"', drawn)
    assert path.count("M") == 2 and path.count("L") == 1
    heights = [float(y) for y in re.findall(r'cy="([\d.]+)"', drawn)]
    assert heights == sorted(heights, reverse=True) and heights[-1] == 6.0


@pytest.mark.parametrize("values", [np.array([np.nan]), np.array([0.0]), np.array([0.3])])
def test_a_sparkline_of_one_layer_is_drawn(values: np.ndarray) -> None:
    assert "nan" not in sparkline([("arm-0", values)], 0, "it")
