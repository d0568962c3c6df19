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
    """N visual tokens in the layers of the decoder.

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
    """Read the states off a trace."""
    entered, attends, runs_ffn, in_cache = (
        trace.of_tokens(of_slots, False).numpy()
        for of_slots in (trace.entered, trace.ran_attention, trace.ran_ffn, trace.in_cache)
    )
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
        merged=trace.merged.numpy(),
        gone_from=entered.sum(axis=0),
        halted_from=np.where(is_halted, after_whole, layers),
    )
