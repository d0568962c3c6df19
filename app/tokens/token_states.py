"""What happens to every visual token in every layer, in the same words for every method: states, read off a trace, and
marks, the tokens of one layer that look alike. The picture draws these marks, the legend names them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import product
from weakref import WeakKeyDictionary

import numpy as np

from skipcore import Trace


class State(IntEnum):
    """What a layer does with a visual token, or with the one it was merged into."""

    WHOLE = 0
    """It attends and runs the FFN."""
    NO_FFN = 1
    NO_ATTENTION = 2
    """It runs the FFN, but does not attend."""
    FROZEN = 3
    """It gives its key and value, and neither attends nor runs the FFN."""
    DROPPED = 4
    """It was dropped, before the decoder or at this layer or an earlier one."""


@dataclass(frozen=True, eq=False)
class TokenStates:
    """N visual tokens, or as many slots of the sequence, in the layers of the decoder.

    Attributes:
        state: [layers, N] int8, a `State` each.
        in_cache: [layers, N] bool: its key and value stay in the layer's KV cache after prefill.
        merged: [N] bool: it was merged into another token, whose states it shares.
        dropped_from: [N] the first layer that it no longer enters; 0: dropped before the decoder, `layers`: never.
        reduced_from: [N] the layer from which on it never runs in full again, having run in full before; `layers`:
            there is none.
    """

    state: np.ndarray
    in_cache: np.ndarray
    merged: np.ndarray
    dropped_from: np.ndarray
    reduced_from: np.ndarray


_KNOWN: WeakKeyDictionary[Trace, TokenStates] = WeakKeyDictionary()


def token_states(trace: Trace) -> TokenStates:
    """The states of the visual tokens of a trace, read off it once."""
    if trace not in _KNOWN:
        masks = trace.entered, trace.ran_attention, trace.ran_ffn, trace.in_cache
        of_tokens = (trace.of_tokens(mask, False).numpy() for mask in masks)
        _KNOWN[trace] = _states(trace.merged.numpy(), *of_tokens)
    return _KNOWN[trace]


def slot_states(trace: Trace) -> TokenStates:
    """The states of every slot, text and summaries included; tied ones are merged."""
    masks = trace.entered, trace.ran_attention, trace.ran_ffn, trace.in_cache
    tied = trace.tied_to.numpy() != np.arange(len(trace.tied_to))
    return _states(tied, *(mask.numpy() for mask in masks))


def _states(
    merged: np.ndarray, entered: np.ndarray, attends: np.ndarray, runs_ffn: np.ndarray, in_cache: np.ndarray
) -> TokenStates:
    state = np.select(
        [~entered, attends & runs_ffn, attends, runs_ffn],
        [State.DROPPED, State.WHOLE, State.NO_FFN, State.NO_ATTENTION],
        State.FROZEN,
    ).astype(np.int8)
    layers, tokens = state.shape
    after_whole = ((state == State.WHOLE) * np.arange(1, layers + 1)[:, None]).max(axis=0)
    next_state = state[after_whole.clip(max=layers - 1), np.arange(tokens)]
    is_reduced = (after_whole > 0) & (after_whole < layers) & (next_state != State.DROPPED)
    return TokenStates(
        state,
        in_cache,
        merged,
        dropped_from=entered.sum(axis=0),
        reduced_from=np.where(is_reduced, after_whole, layers),
    )


_PHRASES = {
    State.WHOLE: "running in full",
    State.NO_FFN: "skipping the FFN",
    State.NO_ATTENTION: "skipping attention",
    State.FROZEN: "frozen (key and value only)",
}


@dataclass(frozen=True, eq=False)
class Mark:
    """Tokens that look alike.

    Attributes:
        state: what the layer does with them.
        tokens: [N] bool, which they are.
        merged: they were merged into others; such tokens look alike whatever the state.
        not_cached: the layer does not keep their keys and values after prefill.
        reduced: this layer and all later ones skip a part of them, which an earlier one ran.
        since: the layers, from 0, from which on they are reduced or dropped.
    """

    state: State
    tokens: np.ndarray
    merged: bool = False
    not_cached: bool = False
    reduced: bool = False
    since: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """How many they are."""
        return int(self.tokens.sum())


def marks(states: TokenStates, layer: int) -> list[Mark]:
    """The marks that occur in a layer, counted from 0; every visual token has one of them."""
    return [mark for mark in _all_marks(states, layer) if mark.count]


def _all_marks(states: TokenStates, layer: int) -> Iterator[Mark]:
    state, uncached = states.state[layer], ~states.in_cache[layer]
    is_dropped = state == State.DROPPED
    reduced = (states.reduced_from <= layer) & ~is_dropped
    for one, not_cached, is_reduced in product(_PHRASES, (False, True), (False, True)):
        same = (state == one) & ~states.merged & (uncached == not_cached) & (reduced == is_reduced)
        yield Mark(one, same, False, not_cached, is_reduced, _layers(states.reduced_from[same]) if is_reduced else ())
    yield Mark(State.WHOLE, states.merged & ~is_dropped, merged=True)
    yield Mark(State.DROPPED, is_dropped, since=_layers(states.dropped_from[is_dropped]))


def _layers(firsts: np.ndarray) -> tuple[int, ...]:
    return tuple(np.unique(firsts).tolist())


def phrase(mark: Mark, *, when: bool = True) -> str:
    """What happens to the tokens of a mark, to be put after their number: "dropped at layer 4"; layers from 1."""
    if mark.merged:
        return "merged into others"
    if mark.state is State.DROPPED:
        return f"dropped {_when(mark.since)}" if when and mark.since else "dropped"
    reduced = ", from here on" if mark.reduced else ""
    if when and mark.reduced:
        reduced = f", from {_layer_names(mark.since)} on"
    return _PHRASES[mark.state] + reduced + ", dropped from the KV cache" * mark.not_cached


def _when(since: tuple[int, ...]) -> str:
    """(0,) → "before the decoder"; (2, 4) → "at layers 3 and 5"."""
    later = tuple(layer for layer in since if layer > 0)
    parts = ["before the decoder"] * (0 in since) + [f"at {_layer_names(each)}" for each in [later] if each]
    return " and ".join(parts)


def _layer_names(layers: tuple[int, ...]) -> str:
    """(2,) → "layer 3"; (2, 4) → "layers 3 and 5"."""
    *first, last = [str(layer + 1) for layer in layers]
    return f"layers {', '.join(first)} and {last}" if first else f"layer {last}"


def sentence(states: TokenStates, layer: int) -> str:
    """All marks of a layer in words."""
    total = states.state.shape[1]
    found = "; ".join(f"{mark.count:,} {phrase(mark)}" for mark in marks(states, layer))
    return f"Layer {layer + 1}, {total:,} visual tokens: {found}."


def swatch(mark: Mark) -> str:
    """The classes of a mark's swatch in theme.css."""
    if mark.merged:
        return "merged"
    more = " uncached" * mark.not_cached + " reduced" * mark.reduced
    return mark.state.name.lower().replace("_", "-") + more
