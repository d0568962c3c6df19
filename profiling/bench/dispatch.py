"""Counts of what torch dispatches while a model runs: kernels launched, and memory that is alive at once.

Both are counted on the CPU as well as on a GPU, and say what a clock there cannot: on a GPU every kernel takes some
microseconds of the host's time, whatever it computes.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_ALLOCATIONS = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided"}


class KernelCount(TorchDispatchMode):
    """Counts the operations on floating-point tensors that compute something.

    Views and allocations launch nothing, and what is planned with whole numbers runs on the host. A GPU in eager mode
    fuses none of the operations, and takes more than one kernel for some.

    Attributes:
        total: so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        output = function(*args, **(kwargs or {}))
        if not function.is_view and function.overloadpacket.__name__ not in _ALLOCATIONS:
            self.total += any(each.is_floating_point() for each in _tensors((output, args)))
        return output


class MemoryCount(TorchDispatchMode):
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
        given = {tensor.untyped_storage() for tensor in _tensors((args, kwargs))}
        output = function(*args, **(kwargs or {}))
        for tensor in _tensors(output):
            storage = None if tensor.device.type == "meta" else tensor.untyped_storage()
            if storage is not None and storage not in given and storage not in self._seen:
                self._seen.add(storage)
                self.largest = max(self.largest, tensor.numel())
                self._alive += storage.nbytes()
                weakref.finalize(storage, self._free, storage.nbytes())
        self.peak = max(self.peak, self._alive)
        return output

    def _free(self, size: int) -> None:
        self._alive -= size


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
