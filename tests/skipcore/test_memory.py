"""No method builds an n × n tensor or needs more memory than the dense model does, at 4,096 visual tokens."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from shared_models import noise_picture
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from profiling.random_models import DecoderSize, random_llava
from skipcore import Dense, Method, SkipVision, Vlm
from skipcore.methods import METHODS, Combined, DyMU, FastV, VisionZip
from skipcore.methods.skip_vision import UNTRAINED
from skipcore.tower import attention_received

TOKENS = 64 * 64


class Memory(TorchDispatchMode):
    """Follows every tensor that is made.

    Attributes:
        largest: elements of the largest one.
        peak: bytes that were alive at the same time, at most.
    """

    def __init__(self) -> None:
        super().__init__()
        self.largest = self.peak = self._alive = 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        given = {leaf.untyped_storage() for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        output = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor) and tensor.device.type != "meta":
                storage = tensor.untyped_storage()
                if storage not in given and storage not in self._seen:
                    self._seen.add(storage)
                    self.largest = max(self.largest, tensor.numel())
                    self._alive += storage.nbytes()
                    weakref.finalize(storage, self._free, storage.nbytes())
        self.peak = max(self.peak, self._alive)
        return output

    def _free(self, size: int) -> None:
        self._alive -= size


@pytest.fixture(scope="module")
def wide() -> Vlm:
    return random_llava(DecoderSize(64, 8, 4, 2), image_size=128, patch_size=2, vision_width=32)


def memory_of(vlm: Vlm, method: Method) -> Memory:
    inputs = vlm.prepare(noise_picture(0), "hm?").inputs
    with method(vlm.model), torch.inference_mode(), Memory() as memory:
        vlm.model(**inputs, use_cache=True, logits_to_keep=1)
    return memory


def test_what_is_made_and_freed_is_counted() -> None:
    with Memory() as memory:
        first = torch.ones(1000)
        for _ in range(3):
            first.view(10, 100).mul(2)
    assert (memory.largest, memory.peak) == (1000, 8000)


def test_attention_received_is_summed_up_by_rows() -> None:
    """A tower without a class token, where every patch is scored by what all others pay to it."""
    query = torch.randn(1, 2, TOKENS, 8)
    with Memory() as memory:
        attention_received(query, query, None, 1.0)
    assert memory.largest <= TOKENS**2 / 8


MEASURED: dict[str, Method] = {
    **{name: method() for name, method in METHODS.items()},
    "DyMU, merging": DyMU((-1.0,)),
    "Skip-Vision, by halves": SkipVision(0.25, 0.5),
    "VisionZip, by thirds": VisionZip(0.3, 0.3),
    "Combined": Combined(FastV(2), SkipVision(0.3, 0.3)),
    "Combined, in place": Combined(FastV(2), SkipVision(0.5, 0.5, layers=(5,), attention_layers=(6,), **UNTRAINED)),
}


@pytest.fixture(scope="module")
def dense(wide: Vlm) -> Memory:
    return memory_of(wide, Dense())


@pytest.mark.parametrize("name", MEASURED)
def test_no_square_and_no_more_than_dense(wide: Vlm, dense: Memory, name: str) -> None:
    memory = memory_of(wide, MEASURED[name])
    assert memory.largest <= TOKENS**2 / 8
    assert memory.peak <= dense.peak
