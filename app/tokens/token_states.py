"""What happens to every visual token in every layer, in the same words for every method. Trace in, states out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

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
    GONE = 4
    """It was dropped, before the decoder or at this layer or an earlier one."""


@dataclass(frozen=True, eq=False)
class TokenStates:
    """N visual tokens, or as many places of the sequence, in the layers of the decoder.

    Attributes:
        state: [layers, N] int8, a `State` each.
        in_cache: [layers, N] bool: its key and value stay in the layer's KV cache after prefill.
        merged: [N] bool: it was merged into another token, whose states it shares.
        gone_from: [N] the first layer in which it is gone; 0: before the decoder, `layers`: never.
        halted_from: [N] the layer from which on it never runs whole again though it is there, having run whole before;
            `layers`: it is not halted.
    """

    state: np.ndarray
    in_cache: np.ndarray
    merged: np.ndarray
    gone_from: np.ndarray
    halted_from: np.ndarray


def token_states(trace: Trace) -> TokenStates:
    """Read the states of the visual tokens off a trace."""
    masks = trace.entered, trace.ran_attention, trace.ran_ffn, trace.in_cache
    return _states(trace.merged.numpy(), *(trace.of_tokens(mask, False).numpy() for mask in masks))


def place_states(trace: Trace) -> TokenStates:
    """The same of every place in the decoder's sequence, text and summaries included; tied ones are merged."""
    masks = trace.entered, trace.ran_attention, trace.ran_ffn, trace.in_cache
    tied = trace.tied_to.numpy() != np.arange(len(trace.tied_to))
    return _states(tied, *(mask.numpy() for mask in masks))


def _states(
    merged: np.ndarray, entered: np.ndarray, attends: np.ndarray, runs_ffn: np.ndarray, in_cache: np.ndarray
) -> TokenStates:
    state = np.select(
        [~entered, attends & runs_ffn, attends, runs_ffn],
        [State.GONE, State.WHOLE, State.NO_FFN, State.NO_ATTENTION],
        State.FROZEN,
    ).astype(np.int8)
    layers, tokens = state.shape
    after_whole = ((state == State.WHOLE) * np.arange(1, layers + 1)[:, None]).max(axis=0)
    next_state = state[after_whole.clip(max=layers - 1), np.arange(tokens)]
    is_halted = (after_whole > 0) & (after_whole < layers) & (next_state != State.GONE)
    return TokenStates(
        state,
        in_cache,
        merged,
        gone_from=entered.sum(axis=0),
        halted_from=np.where(is_halted, after_whole, layers),
    )
