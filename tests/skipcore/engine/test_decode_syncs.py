"""Decode steps never wait for the device: nothing that was computed there is read on the host."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Self
from weakref import WeakSet

import pytest
import torch
from family_methods import COMBINED, METHODS, PEERS, SEEING_PEERS
from model_runs import batch
from shared_models import noise_picture
from tiny_families import tiny_model
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import DynamicCache

from skipcore import Dense, Vlm

READS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.is_nonzero.default,
    torch.ops.aten.equal.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten._unique2.default,
    torch.ops.aten.unique_dim.default,
    torch.ops.aten.repeat_interleave.Tensor,
}
"""What needs values or a size that only the device knows."""


class Reads(TorchFunctionMode):
    """Tells a device from the host, though both are the CPU here, and counts how often the host reads what is there.

    On the device is what the body begins with, what was moved by `to(device)` or made with a `device`, and all that is
    computed from it; on the host is what `cpu()` returns. A mask as an index is a read, too.

    Args:
        on_device: where it begins.

    Attributes:
        found: the reads, by what did them.
    """

    def __init__(self, on_device: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.found: list[str] = []
        self._there = WeakSet(tensor.untyped_storage() for tensor in on_device)
        self._ops = _Ops(self._there, self.found)

    def __enter__(self) -> Self:
        self._ops.__enter__()
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self._ops.__exit__(*exception)

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs, there = kwargs or {}, self._there
        output = function(*args, **kwargs)
        moves = function is torch.Tensor.to and any(
            isinstance(each, torch.device) for each in (*args, *kwargs.values())
        )
        if function is torch.Tensor.cpu:
            if output.untyped_storage() in there:
                self.found.append("cpu")
            output = output.clone()
            there.discard(output.untyped_storage())
        elif moves:
            output = output.clone()
        if moves or (kwargs.get("device") is not None and isinstance(output, torch.Tensor)):
            with suppress(NotImplementedError):  # within vmap
                there.add(output.untyped_storage())
        return output


class _Ops(TorchDispatchMode):
    """What is computed from a tensor on the device is there, too."""

    def __init__(self, there: WeakSet[torch.UntypedStorage], found: list[str]) -> None:
        super().__init__()
        self._there, self._found = there, found

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        there = [leaf for leaf in given if leaf.untyped_storage() in self._there]
        is_index = function in (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default)
        if there and (function in READS or (is_index and any(leaf.dtype == torch.bool for leaf in there[1:]))):
            self._found.append(str(function))
        output = function(*args, **(kwargs or {}))
        if there:
            made = [leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor)]
            for tensor in made:
                self._there.add(tensor.untyped_storage())
        return output


def reads_of(vlm: Vlm, inputs: dict, steps: int) -> list[str]:
    """Of decode steps after a prefill of `inputs`."""
    cache = DynamicCache(config=vlm.model.get_decoder().config)
    new = torch.full((len(inputs["input_ids"]), 1), 70)
    with torch.inference_mode(), Reads([*vlm.model.parameters(), *vlm.model.buffers(), *inputs.values(), new]) as reads:
        vlm.model(**inputs, past_key_values=cache, use_cache=True)
        reads.found.clear()
        for _ in range(steps):
            vlm.model(input_ids=new, past_key_values=cache, use_cache=True)
    return reads.found


def test_reads_are_counted() -> None:
    there, here, device = torch.arange(3), torch.arange(3), torch.device("cpu")
    with Reads([there]) as reads:
        bool((here > 1).any())
        here[here > 1]
        assert reads.found == []
        bool((there + here).any())
        (there * 2)[there > 1]
        torch.cat([there, here]).nonzero()
        int(torch.arange(3, device=device).sum())
        assert len(reads.found) == 4
        moved = here.to(device)
        int(moved.cpu().sum())
        assert len(reads.found) == 5
        int(moved.sum())
        assert len(reads.found) == 6


EVERY_METHOD = {**METHODS, **PEERS, **SEEING_PEERS, **COMBINED}


@pytest.mark.parametrize("family", ["LLaVA", "Qwen2.5-VL", "Gemma 3", "Ministral 3"])
@pytest.mark.parametrize("name", EVERY_METHOD)
def test_a_method_reads_no_more_in_decode_steps_than_the_stock_model(family: str, name: str) -> None:
    """Past a sliding window, too."""
    vlm, method = tiny_model(family), EVERY_METHOD[name]
    inputs = vlm.prepare(noise_picture(0), "What?", method=method).inputs
    with Dense()(vlm.model):
        stock = reads_of(vlm, inputs, 8)
    with method(vlm.model):
        assert reads_of(vlm, inputs, 8) == stock == []


@pytest.mark.parametrize("name", ["masked", "text sees skipped", "attention skipped, too"])
def test_a_padded_batch_reads_nothing_in_decode_steps(name: str) -> None:
    vlm, method = tiny_model("Gemma 3"), EVERY_METHOD[name]
    inputs = batch(vlm, [[noise_picture(1)], [noise_picture(2), noise_picture(3)]], ["What?", "What color is it?"])
    with method(vlm.model):
        assert reads_of(vlm, inputs, 8) == []
