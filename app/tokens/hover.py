"""What a token, or a slot of the heat map, is, in a few words under the mouse. Report in, words out; the browser picks:
see `assets/js/hover.js`."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np

from app.tokens.selection import location_of
from app.tokens.token_card import merge_target, merged_in, position, tile_and_picture
from app.tokens.token_grids import grids_of
from app.tokens.token_states import State, TokenStates, marks, phrase, slot_states, swatch, token_states
from app.wording import ROLE_NAMES
from profiling import Arm, Report
from skipcore import Role, Trace

MOST_LEVELS = 254
GONE, NO_FFN = 0, 1
"""Codes of an FFN update; those of levels follow."""


def hover(report: Report) -> str:
    """The words of a report and its FFN updates, both packed, and the box that will show them."""
    levels = levels_of([arm.trace for arm in report.arms])
    words = json.dumps(hover_words(report, levels), ensure_ascii=False, separators=(",", ":"))
    codes = b"".join(codes_of(arm.trace, levels).tobytes() for arm in report.arms)
    return (
        f'<div class="tip" aria-hidden="true" data-words="{_packed(words.encode())}" '
        f'data-updates="{_packed(codes)}"></div>'
    )


def _packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode()


def hover_words(report: Report, levels: np.ndarray) -> dict[str, Any]:
    """All that can stand under the mouse: each words once, and numbers that point at them.

    Returns:
        `tokens`, [N] where each token lies; `grids`, the token in each cell of a picture, row by row; `levels`, the FFN
        update in words, by code; `unknown`, where none was recorded; and `arms`, see `_arm`. Long rows of numbers that
        mostly count up are given as steps from one to the next, which pack well.
    """
    trace = report.arms[0].trace
    firsts = accumulate((codes_of(arm.trace, levels).size for arm in report.arms), initial=0)
    return {
        "tokens": [_where(trace, token) for token in range(len(trace.token_slot))],
        "grids": [_steps(grid.tokens.ravel()) for grid in grids_of(report)],
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

    Where there are more, they are thinned out evenly, and an update is given as the nearest; the card has three digits.
    """
    updates = [trace.ffn_update.double().numpy() for trace in traces if trace.ffn_update is not None]
    found = [update[np.isfinite(update)] for update in updates]
    distinct = np.unique([float(f"{value:.1e}") for value in np.unique(np.concatenate([*found, []]))])
    if len(distinct) <= MOST_LEVELS:
        return distinct
    return distinct[np.linspace(0, len(distinct) - 1, MOST_LEVELS).round().astype(int)]


def codes_of(trace: Trace, levels: np.ndarray) -> np.ndarray:
    """[layers, slots] uint8: `GONE`, `NO_FFN`, or 2 + the nearest level's number. Empty where none is recorded."""
    if trace.ffn_update is None:
        return np.empty((0, 0), np.uint8)
    update = trace.ffn_update.double().numpy()
    ran = np.isfinite(update)
    codes = np.where(trace.entered.numpy(), NO_FFN, GONE).astype(np.uint8)
    codes[ran] = 2 + np.searchsorted((levels[1:] + levels[:-1]) / 2, update[ran])
    return codes


def _where(trace: Trace, token: int) -> str:
    location = location_of(trace, token)
    return ", ".join([position(location).capitalize(), *tile_and_picture(location)])


def _steps(numbers: np.ndarray) -> list[int]:
    return np.diff(numbers, prepend=0).tolist()


def _arm(arm: Arm, first: int) -> dict[str, Any]:
    """The words of one arm.

    Args:
        first: the number of its first code among the FFN updates of all arms.

    Returns:
        `layers`, their names; `slot`, that of a slot, to be numbered; `roles`, [swatch, words] of each slot; `marks`,
        [swatch, words]; `histories`, each with the number of a mark for every layer, and `history`, that of each slot;
        `updates`, the first code, or None. `tokens` has the `histories` and the `history` of the visual tokens, their
        `merges`, and their `slot` as steps, −1 for none.
    """
    trace = arm.trace
    numbers: dict[tuple[str, str], int] = {}
    targets = {token: merge_target(trace, token) for token in trace.merged.nonzero().flatten().tolist()}
    tokens = range(len(trace.token_slot))
    of_tokens = _histories(token_states(trace), tokens, targets, numbers)
    of_slots = _histories(slot_states(trace), trace.slot_token.tolist(), targets, numbers)
    others = np.bincount(trace.merged_into[trace.merged].numpy(), minlength=len(tokens)).tolist()
    return {
        "layers": [f"Layer {layer}" for layer in range(1, len(trace.ran_ffn) + 1)],
        "slot": f"slot {{}} of {len(trace.slot_role):,}",
        "roles": [_role(trace, slot) for slot in range(len(trace.slot_role))],
        **of_slots,
        "updates": None if trace.ffn_update is None else first,
        "tokens": {
            **of_tokens,
            "merges": [merged_in(count) if count else "" for count in others],
            "slot": _steps(trace.token_slot.numpy()),
        },
        "marks": list(numbers),
    }


def _role(trace: Trace, slot: int) -> tuple[str, str]:
    role, token = ROLE_NAMES[Role(int(trace.slot_role[slot]))], int(trace.slot_token[slot])
    if token < 0:
        return f"{role}-token", "summary token" if role == "summary" else role
    where = _where(trace, token)
    return f"{role}-token", f"{role} token, {where[0].lower()}{where[1:]}"


def _histories(
    states: TokenStates, tokens: Sequence[int], targets: dict[int, str], numbers: dict[tuple[str, str], int]
) -> dict[str, list]:
    """The rows of marks that occur, a mark for every layer, and which of these each slot or token has.

    Args:
        tokens: the visual token of each slot.
        targets: what each merged token was merged into, in words.
        numbers: of every mark's swatch and words; new ones are added.
    """
    found = np.zeros(states.state.shape, int)
    for layer in range(len(found)):
        for mark in marks(states, layer):
            if mark.merged:
                for slot in np.flatnonzero(mark.tokens).tolist():
                    words = f"merged into {targets.get(tokens[slot], 'others')}"
                    found[layer, slot] = numbers.setdefault((swatch(mark), words), len(numbers))
                continue
            firsts = states.dropped_from if mark.state is State.DROPPED else states.reduced_from
            for since in mark.since or (None,):
                same = mark.tokens if since is None else mark.tokens & (firsts == since)
                words = phrase(replace(mark, since=() if since is None else (since,)))
                found[layer, same] = numbers.setdefault((swatch(mark), words), len(numbers))
    histories, history = np.unique(found, axis=1, return_inverse=True)
    return {"histories": histories.T.tolist(), "history": history.ravel().tolist()}
