"""What a token or a place of the heat map is, in a word, under the mouse. Report in, words out; the browser picks."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from app.keys import ROLE_NAMES, swatch
from app.marks import marks, phrase
from app.picking import CELL_AT
from app.selection import place_of
from app.token_card import position, taken_in, taker_of, tile_and_picture
from app.token_grids import token_grids
from app.token_states import State, TokenStates, place_states, token_states
from profiling import Arm, Report
from skipcore import Role, Trace

MOST_LEVELS = 254
GONE, NO_FFN = 0, 1
"""Codes of an FFN update; those of levels follow."""
FIRST = 32
"""The character that stands for code 0: none needs an escape in JSON but two."""

HOVER = (
    CELL_AT
    + """
let told = null, over = null;
const load = async () => {
  const packed = element.querySelector('[data-hover]')?.dataset.hover;
  told = null;
  if (!packed) return;
  const bytes = Uint8Array.from(atob(packed), letter => letter.charCodeAt(0));
  const text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'))).text();
  if (packed === element.querySelector('[data-hover]')?.dataset.hover) told = JSON.parse(text);
};
const update = (arm, layer, place) => told.levels[
  arm.updates === null ? told.levels.length - 1
    : place < 0 ? 0 : arm.updates.charCodeAt(layer * arm.roles.length + place) - told.first];
// lines of a swatch and words
const ofToken = (cells, row, column) => {
  const token = told.grids[cells.dataset.grid][row * Number(cells.dataset.columns) + column];
  const arm = told.arms[cells.closest('[data-arm]').dataset.arm];
  const slider = document.querySelector('#overlay-layer input[type=range]');
  const layer = Math.max(0, Math.min(arm.layers.length, Number(slider?.value ?? 1)) - 1);
  const [swatch, words] = arm.marks[arm.tokens.fates[arm.tokens.fate[token]][layer]];
  return [['', told.tokens[token]], [swatch, `${arm.layers[layer]}: ${words}`], ['', arm.tokens.company[token]],
    ['', update(arm, layer, arm.tokens.place[token])]];
};
const ofPlace = (cells, layer, place) => {
  const arm = told.arms[cells.dataset.grid];
  const mark = arm.marks[arm.fates[arm.fate[place]][layer]];
  return [['', `${arm.layers[layer]}, ${arm.places[place]}`], arm.roles[place], mark, ['', update(arm, layer, place)]];
};
const tip = () => element.querySelector('.tip');
const unframe = () => document.querySelectorAll('.cells .pointed').forEach(frame => frame.remove());
const leave = () => {
  over = null;
  tip()?.classList.remove('seen');
  unframe();
};
const frame = (cells, row, column) => {
  unframe();
  const box = `x="${column}" y="${row}" width="1" height="1"`;
  cells.insertAdjacentHTML('beforeend', `<rect class="pointed dark" ${box}/><rect class="pointed" ${box}/>`);
};
const show = () => {
  if (!told || !over || !over.cells.isConnected) return leave();
  const {cells, row, column, x, y} = over, box = tip();
  frame(cells, row, column);
  const lines = (cells.closest('[data-arm]') ? ofToken : ofPlace)(cells, row, column);
  box.replaceChildren(...lines.filter(([, words]) => words).map(([swatch, words]) => {
    const line = document.createElement('p');
    if (swatch) line.append(Object.assign(document.createElement('span'), {className: `key ${swatch}`}));
    line.append(Object.assign(document.createElement('span'), {textContent: words}));
    return line;
  }));
  box.classList.add('seen');
  const fits = (at, size, room) => at + 16 + size <= room - 8 ? at + 16 : Math.max(8, at - 16 - size);
  box.style.left = `${fits(x, box.offsetWidth, document.documentElement.clientWidth)}px`;
  box.style.top = `${fits(y, box.offsetHeight, innerHeight)}px`;
};
document.addEventListener('pointermove', event => {
  const cells = event.pointerType === 'touch' ? null : event.target.closest?.('.cells');
  if (!cells) return over && leave();
  const [row, column] = cellAt(cells, event);
  over = {cells, row, column, x: event.clientX, y: event.clientY};
  show();
});
document.documentElement.addEventListener('pointerleave', leave);
document.addEventListener('scroll', () => over && leave(), true);
// the layer changes under a mouse that rests: by key, or because a cell was chosen
document.addEventListener('input', () => over && show());
watch('value', load);
load();
"""
)
"""Shows the words of the cell under the mouse, in the layer that is shown, in the browser alone. A finger selects."""


def hover(report: Report) -> str:
    """The words of a report, packed (JSON, deflated), and the box that will show them."""
    text = json.dumps(told(report), ensure_ascii=False, separators=(",", ":"))
    packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    return f'<div class="tip" aria-hidden="true" data-hover="{packed}"></div>'


def told(report: Report) -> dict[str, Any]:
    """All that can be told, with words once and numbers that point at them.

    FFN updates are told to two digits; where a report has more than `MOST_LEVELS` such values, as the nearest of so
    many of them. The card has three digits.

    Returns:
        tokens: [N] where each token lies. grids: of each grid of tokens the token in each cell, row by row.
        levels: the FFN update in words, by code; the last says that none was recorded. first: the character of code 0.
        arms: of each arm `layers` and `places`, their names; `roles`, [swatch, words] of each place; `marks`,
        [swatch, words]; `fates`, each a list of a mark for each layer, and `fate`, that of each place; `updates`, the
        codes [layers · places] as characters, or None; and `tokens`: `fate` and `fates` of the visual tokens, their
        `company`, and their `place`, −1 for none.
    """
    trace = report.arms[0].trace
    levels = levels_of([arm.trace for arm in report.arms])
    values = [f"FFN update about {np.format_float_positional(level, trim='-')}" for level in levels]
    return {
        "tokens": [_where(trace, token) for token in range(len(trace.token_slot))],
        "grids": [grid.tokens.ravel().tolist() for grid in token_grids(report.pictures, report.tiles)],
        "first": FIRST,
        "levels": ["", "No FFN ran", *values, "FFN update not recorded"],
        "arms": [_arm(arm, levels) for arm in report.arms],
    }


def levels_of(traces: Sequence[Trace]) -> np.ndarray:
    """The FFN updates that occur, to two digits, in order: at most `MOST_LEVELS`, thinned out evenly if need be."""
    updates = [trace.ffn_update.double().numpy() for trace in traces if trace.ffn_update is not None]
    found = [update[np.isfinite(update)] for update in updates]
    distinct = np.unique([float(f"{value:.1e}") for value in np.unique(np.concatenate([*found, []]))])
    if len(distinct) <= MOST_LEVELS:
        return distinct
    return distinct[np.linspace(0, len(distinct) - 1, MOST_LEVELS).round().astype(int)]


def codes_of(trace: Trace, levels: np.ndarray) -> np.ndarray:
    """[layers, places]: `GONE`, `NO_FFN`, or 2 + the number of the nearest level."""
    assert trace.ffn_update is not None
    update = trace.ffn_update.double().numpy()
    ran = np.isfinite(update)
    codes = np.where(trace.entered.numpy(), NO_FFN, GONE)
    codes[ran] = 2 + np.searchsorted((levels[1:] + levels[:-1]) / 2, update[ran])
    return codes


def _where(trace: Trace, token: int) -> str:
    place = place_of(trace, token)
    return ", ".join([position(place).capitalize(), *tile_and_picture(place)])


def _arm(arm: Arm, levels: np.ndarray) -> dict[str, Any]:
    trace = arm.trace
    table: dict[tuple[str, str], int] = {}
    takers = {token: taker_of(trace, token) for token in trace.merged.nonzero().flatten().tolist()}
    tokens = range(len(trace.token_slot))
    fates, fate = _fates(token_states(trace), tokens, takers, table)
    place_fates, place_fate = _fates(place_states(trace), trace.slot_token.tolist(), takers, table)
    taken = np.bincount(trace.taker[trace.merged].numpy(), minlength=len(tokens)).tolist()
    updates = None if trace.ffn_update is None else codes_of(trace, levels).ravel().tolist()
    layers, slots = trace.ran_ffn.shape
    return {
        "layers": [f"Layer {layer}" for layer in range(1, layers + 1)],
        "places": [f"place {slot:,} of {slots:,}" for slot in range(1, slots + 1)],
        "roles": [_role(trace, slot) for slot in range(slots)],
        "fates": place_fates,
        "fate": place_fate,
        "updates": None if updates is None else "".join(chr(FIRST + code) for code in updates),
        "tokens": {
            "fates": fates,
            "fate": fate,
            "company": [taken_in(others) if others else "" for others in taken],
            "place": trace.token_slot.tolist(),
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
