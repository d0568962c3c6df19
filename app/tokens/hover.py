"""What a token or a place of the heat map is, in a word, under the mouse. Report in, words out; the browser picks."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np

from app.tokens.marks import marks, phrase, swatch
from app.tokens.selection import place_of
from app.tokens.token_card import position, taken_in, taker_of, tile_and_picture
from app.tokens.token_grids import token_grids
from app.tokens.token_states import State, TokenStates, place_states, token_states
from app.wording import ROLE_NAMES
from profiling import Arm, Report
from skipcore import Role, Trace

MOST_LEVELS = 254
GONE, NO_FFN = 0, 1
"""Codes of an FFN update; those of levels follow."""


def hover(report: Report) -> str:
    """The words of a report and its FFN updates, both packed, and the box that will show them."""
    levels = levels_of([arm.trace for arm in report.arms])
    words = json.dumps(told(report, levels), ensure_ascii=False, separators=(",", ":"))
    codes = b"".join(codes_of(arm.trace, levels).tobytes() for arm in report.arms)
    return (
        f'<div class="tip" aria-hidden="true" data-words="{_packed(words.encode())}" '
        f'data-updates="{_packed(codes)}"></div>'
    )


def _packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode()


def told(report: Report, levels: np.ndarray) -> dict[str, Any]:
    """All that can be told: each words once, and numbers that point at them.

    Returns:
        `tokens`, [N] where each token lies; `grids`, the token in each cell of a picture, row by row; `levels`, the FFN
        update in words, by code; `unknown`, where none was recorded; and `arms`, see `_arm`. Long rows of numbers that
        mostly count up are told as steps from one to the next, which pack well.
    """
    trace = report.arms[0].trace
    firsts = accumulate((codes_of(arm.trace, levels).size for arm in report.arms), initial=0)
    return {
        "tokens": [_where(trace, token) for token in range(len(trace.token_slot))],
        "grids": [_steps(grid.tokens.ravel()) for grid in token_grids(report.pictures, report.tiles)],
        "levels": [
            "",
            "No FFN ran",
            *(f"FFN update about {np.format_float_positional(at, trim='-')}" for at in levels),
        ],
        "unknown": "FFN update not recorded",
        "arms": [_arm(arm, first) for arm, first in zip(report.arms, firsts, strict=False)],
    }


def levels_of(traces: Sequence[Trace]) -> np.ndarray:
    """The FFN updates that occur, to two digits, in order: at most `MOST_LEVELS`, so that a code takes a byte.

    Where there are more, they are thinned out evenly, and an update is told as the nearest; the card has three digits.
    """
    updates = [trace.ffn_update.double().numpy() for trace in traces if trace.ffn_update is not None]
    found = [update[np.isfinite(update)] for update in updates]
    distinct = np.unique([float(f"{value:.1e}") for value in np.unique(np.concatenate([*found, []]))])
    if len(distinct) <= MOST_LEVELS:
        return distinct
    return distinct[np.linspace(0, len(distinct) - 1, MOST_LEVELS).round().astype(int)]


def codes_of(trace: Trace, levels: np.ndarray) -> np.ndarray:
    """[layers, places] uint8: `GONE`, `NO_FFN`, or 2 + the nearest level's number. Empty where none is recorded."""
    if trace.ffn_update is None:
        return np.empty((0, 0), np.uint8)
    update = trace.ffn_update.double().numpy()
    ran = np.isfinite(update)
    codes = np.where(trace.entered.numpy(), NO_FFN, GONE).astype(np.uint8)
    codes[ran] = 2 + np.searchsorted((levels[1:] + levels[:-1]) / 2, update[ran])
    return codes


def _where(trace: Trace, token: int) -> str:
    place = place_of(trace, token)
    return ", ".join([position(place).capitalize(), *tile_and_picture(place)])


def _steps(numbers: np.ndarray) -> list[int]:
    return np.diff(numbers, prepend=0).tolist()


def _arm(arm: Arm, first: int) -> dict[str, Any]:
    """What can be told of one arm.

    Args:
        first: the number of its first code among the FFN updates of all arms.

    Returns:
        `layers`, their names; `place`, that of a place, to be numbered; `roles`, [swatch, words] of each place;
        `marks`, [swatch, words]; `fates`, each with the number of a mark for every layer, and `fate`, that of each
        place; `updates`, the first code, or None. `tokens` has the `fates` and the `fate` of the visual tokens, their
        `company`, and their `place` as steps, −1 for none.
    """
    trace = arm.trace
    table: dict[tuple[str, str], int] = {}
    takers = {token: taker_of(trace, token) for token in trace.merged.nonzero().flatten().tolist()}
    tokens = range(len(trace.token_slot))
    fates, fate = _fates(token_states(trace), tokens, takers, table)
    place_fates, place_fate = _fates(place_states(trace), trace.slot_token.tolist(), takers, table)
    taken = np.bincount(trace.taker[trace.merged].numpy(), minlength=len(tokens)).tolist()
    return {
        "layers": [f"Layer {layer}" for layer in range(1, len(trace.ran_ffn) + 1)],
        "place": f"place {{}} of {len(trace.slot_role):,}",
        "roles": [_role(trace, slot) for slot in range(len(trace.slot_role))],
        "fates": place_fates,
        "fate": place_fate,
        "updates": None if trace.ffn_update is None else first,
        "tokens": {
            "fates": fates,
            "fate": fate,
            "company": [taken_in(others) if others else "" for others in taken],
            "place": _steps(trace.token_slot.numpy()),
        },
        "marks": list(table),
    }


def _role(trace: Trace, slot: int) -> tuple[str, str]:
    role, token = ROLE_NAMES[Role(int(trace.slot_role[slot]))], int(trace.slot_token[slot])
    if token < 0:
        return f"{role}-token", "summary token" if role == "summary" else role
    where = _where(trace, token)
    return f"{role}-token", f"{role} token, {where[0].lower()}{where[1:]}"


def _fates(
    states: TokenStates, tokens: Sequence[int], takers: dict[int, str], table: dict[tuple[str, str], int]
) -> tuple[list[list[int]], list[int]]:
    """The marks that befall one after the other, and which of these fates each place or token has.

    Args:
        tokens: the visual token of each place.
        takers: in words, of each merged token.
        table: the number of every mark's swatch and words; new ones are added.
    """
    numbers = np.zeros(states.state.shape, int)
    for layer in range(len(numbers)):
        for mark in marks(states, layer):
            if mark.merged:
                for place in np.flatnonzero(mark.tokens).tolist():
                    words = f"merged into {takers.get(tokens[place], 'others')}"
                    numbers[layer, place] = table.setdefault((swatch(mark), words), len(table))
                continue
            firsts = states.gone_from if mark.state is State.GONE else states.halted_from
            for since in mark.since or (None,):
                same = mark.tokens if since is None else mark.tokens & (firsts == since)
                words = phrase(replace(mark, since=() if since is None else (since,)))
                numbers[layer, same] = table.setdefault((swatch(mark), words), len(table))
    fates, fate = np.unique(numbers, axis=1, return_inverse=True)
    return fates.T.tolist(), fate.ravel().tolist()
