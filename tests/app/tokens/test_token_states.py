"""What happens to every token in every layer, and its mark: over a table of methods on the tiny model."""

from __future__ import annotations

import re

import hand_made
import numpy as np
import pytest
from every_method import CASES, trace_on
from PIL import Image

from app import palette
from app.panels.tokens import describe, legend
from app.tokens.overlay import COLORS, LONGEST_SIDE, View, plain_pictures, token_marks
from app.tokens.token_grids import TokenGrid
from app.tokens.token_states import State, marks, phrase, sentence, token_states
from skipcore import Trace, Vlm

LAYERS = 3
CELL = LONGEST_SIDE // 8
GRAY = Image.new("RGB", (64, 64), (150, 150, 150))
RED = Image.new("RGB", (64, 64), (200, 30, 30))


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tiny: Vlm, picture: Image.Image) -> tuple[Trace, list[list[str]]]:
    method, expected = CASES[request.param]
    return trace_on(tiny, picture, method), expected


def cells(trace: Trace, layer: int, picture: Image.Image, view: View = View.STATE) -> np.ndarray:
    """The overlay as [token, pixels of a cell, RGB]."""
    grid = TokenGrid(picture, np.arange(64).reshape(8, 8))
    [plain], [drawn] = plain_pictures([grid]), token_marks([grid], trace, view, layer)
    return (
        np.asarray(hand_made.under(plain, drawn))
        .reshape(8, CELL, 8, CELL, 3)
        .transpose(0, 2, 1, 3, 4)
        .reshape(64, CELL, CELL, 3)
    )


def test_every_layer_says_what_happens(case: tuple[Trace, list[list[str]]]) -> None:
    trace, expected = case
    states = token_states(trace)
    found = [[f"{mark.count} {phrase(mark)}" for mark in marks(states, layer)] for layer in range(LAYERS)]
    assert found == expected
    assert sentence(states, 1) == f"Layer 2, 64 visual tokens: {'; '.join(expected[1])}."


def test_states_are_what_the_trace_says_token_by_token(case: tuple[Trace, list[list[str]]]) -> None:
    trace, _ = case
    states = token_states(trace)
    ran = {
        State.WHOLE: (True, True, True),
        State.NO_FFN: (True, True, False),
        State.NO_ATTENTION: (True, False, True),
        State.FROZEN: (True, False, False),
        State.DROPPED: (False, False, False),
    }
    for token, slot in enumerate(trace.token_slot.tolist()):
        for layer in range(LAYERS):
            masks = (trace.entered, trace.ran_attention, trace.ran_ffn)
            did = tuple(bool(mask[layer, slot]) for mask in masks) if slot >= 0 else (False,) * 3
            assert ran[State(states.state[layer, token])] == did
            assert states.in_cache[layer, token] == (slot >= 0 and bool(trace.in_cache[layer, slot]))
        there = (states.state[:, token] != State.DROPPED).tolist()
        assert there == [layer < states.dropped_from[token] for layer in range(LAYERS)]


def test_every_token_has_one_mark_and_every_mark_one_look(case: tuple[Trace, list[list[str]]]) -> None:
    """Also without any color: a picture of one gray has as many kinds of cells as there are marks."""
    trace, _ = case
    states = token_states(trace)
    for layer in range(LAYERS):
        found = marks(states, layer)
        assert (sum(mark.tokens.astype(int) for mark in found) == 1).all()
        drawn = cells(trace, layer, GRAY).astype(float).mean(axis=-1)
        looks = [drawn[mark.tokens] for mark in found]
        assert all((look == look[0]).all() for look in looks)
        for number, look in enumerate(looks):
            others = [abs(look[0] - other[0]) > 20 for other in looks[:number]]
            assert all(differs.mean() > 0.03 for differs in others)


def test_marks_have_the_colors_of_their_states(case: tuple[Trace, list[list[str]]]) -> None:
    trace, _ = case
    states = token_states(trace)
    for layer in range(LAYERS):
        drawn = cells(trace, layer, RED)
        for mark in marks(states, layer):
            colors = {state for state in State if (drawn[mark.tokens] == palette.rgb(COLORS[state])).all(-1).any()}
            same = {state for state in State if COLORS[state] == COLORS[mark.state]}
            assert colors == (set() if mark.merged else same)


def test_dropped_tokens_are_crossed_out_in_every_view(case: tuple[Trace, list[list[str]]]) -> None:
    trace, _ = case
    gone = token_states(trace).state == State.DROPPED
    for layer in range(LAYERS):
        for view in View:
            dark = np.median(cells(trace, layer, GRAY, view), axis=(1, 2, 3)) < 60
            assert dark[gone[layer]].all()
            if view is not View.UPDATE:  # small updates are dark violet
                assert not dark[~gone[layer]].any()


def test_the_legend_names_what_occurs_and_nothing_else(case: tuple[Trace, list[list[str]]]) -> None:
    trace, expected = case
    for layer in range(LAYERS):
        key = legend(trace, View.STATE, layer, (0.01, 1.0))
        assert key.count("<li>") == len(expected[layer]) and all(words in key for words in expected[layer])
        update = legend(trace, View.UPDATE, layer, (0.01, 1.0))
        assert ("dropped" in update) == any(re.match(r"\d+ dropped", words) for words in expected[layer])
        stays = token_states(trace).state[layer] != State.DROPPED
        assert ("no FFN ran" in update) == bool(np.isnan(trace.token_update(layer)[stays]).any())
        assert describe(trace, View.UPDATE, layer).startswith(f"Layer {layer + 1}: the FFN ran for")


def test_merged_tokens_point_to_the_ones_that_took_them_in(case: tuple[Trace, list[list[str]]]) -> None:
    trace, _ = case
    merged = trace.merged
    assert not merged[trace.merged_into[merged]].any()
    if merged.any():
        lines = describe(trace, View.MERGES, 0)
        assert lines.startswith(f"{int(merged.sum())} tokens are merged, each along a line into one of ")
        assert (cells(trace, 0, GRAY, View.MERGES)[merged] == palette.rgb(palette.SKIPPED)).all(-1).any((1, 2)).all()
