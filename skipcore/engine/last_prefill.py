"""What the last prefill of a session has left, from which its traces are made."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from skipcore.engine.cache import storage_bytes, stored_tokens
from skipcore.engine.prompts import Prompts
from skipcore.engine.recorder import UpdateRecorder
from skipcore.plan.token_plan import TokenPlan
from skipcore.trace import Trace, trace_of


class LastPrefill:
    """One prefill of a batch.

    Args:
        plan: finds the pictures and plans what happens to their tokens; called once, by `read`.
        recorder: of FFN updates; None: they are not recorded.
        counts: of every layer, the rows that entered it, that attended and that ran the FFN; empty where nothing was
            hooked.

    Attributes:
        prompts: of the batch, once read.
        plans: of each sample, as the method has revised them.
        laid_out: whether the decoder was given slots instead of the prompts as they are.
    """

    def __init__(
        self,
        plan: Callable[[], tuple[Prompts, list[TokenPlan]]],
        recorder: UpdateRecorder | None,
        counts: list[list[int]],
    ) -> None:
        self._plan: Callable[[], tuple[Prompts, list[TokenPlan]]] | None = plan
        self._recorder = recorder
        self._counts = counts
        self._cache_sizes: tuple[Tensor, Tensor] | None = None
        self.prompts: Prompts
        self.plans: list[TokenPlan]
        self.laid_out = False

    def read(self) -> None:
        """Find the pictures and plan, unless that is done."""
        if self._plan is not None:
            self.prompts, self.plans = self._plan()
            self._plan = None  # it holds embeddings: do not keep them

    def keep_sizes(self, cache: Any) -> None:
        """Record the sizes of the cache that the prefill leaves, not of those after decode steps."""
        if self._cache_sizes is None and isinstance(cache, DynamicCache) and cache.get_seq_length() > 0:
            layers = range(len(cache.layers))
            self._cache_sizes = (
                torch.tensor([stored_tokens(cache, layer) for layer in layers]),
                torch.tensor([storage_bytes(cache, layer) for layer in layers]),
            )

    @cached_property
    def traces(self) -> tuple[Trace, ...]:
        """A trace for each sample."""
        self.read()
        updates = None if self._recorder is None else self._recorder.updates()
        return tuple(
            self._trace(plan, sample, None if updates is None else updates[sample])
            for sample, plan in enumerate(self.plans)
        )

    def _trace(self, plan: TokenPlan, sample: int, updates: Tensor | None) -> Trace:
        if updates is not None and not self.laid_out:
            updates = updates[:, self.prompts.real[sample]]  # slots are the prompt's tokens, one by one
        tokens = size = None
        if self._cache_sizes is not None:
            stored, of_batch = self._cache_sizes
            # A padded batch's storage holds padding too; a sample is charged for its own tokens.
            tokens = torch.minimum(stored, plan.in_cache.sum(dim=1))
            size = of_batch * tokens // (stored * len(self.plans))
        counts = torch.tensor(self._counts) if len(self.plans) == 1 and self._counts else None
        return trace_of(plan, self.prompts.visual[sample], updates, counts, tokens, size)
