"""The roofs of a device: the most FLOP/s and bytes/s it gives, from its data sheet or, on a CPU, measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from profiling.clock import timed
from skipcore.model.hardware import OUTSIDE, device_name

MATRIX = 1024
"""Rows and columns of the measured product."""
COPIED_BYTES = 64 * 1024**2
"""More than most caches hold."""
TRIALS = 5


@dataclass(frozen=True)
class Roof:
    """The two roofs.

    Attributes:
        flops_per_s: of matrix products in the model's dtype, without sparsity.
        bytes_per_s: of memory.
        source: where both come from, in words.
    """

    flops_per_s: float
    bytes_per_s: float
    source: str

    @property
    def ridge(self) -> float:
        """FLOP per byte at which the roofs meet: below it memory limits, above it arithmetic."""
        return self.flops_per_s / self.bytes_per_s

    def at(self, intensity: float) -> float:
        """The most FLOP/s at an arithmetic intensity (Williams, Waterman and Patterson, 2009)."""
        return min(self.flops_per_s, intensity * self.bytes_per_s)


# TFLOP/s of 16-bit tensor cores without sparsity, TFLOP/s of float32 (PyTorch leaves TF32 off), TB/s; NVIDIA's data
# sheets of each product, and the Ada architecture's white paper for the RTX 4090. Longer names first.
_DATA_SHEETS: tuple[tuple[str, float, float, float], ...] = (
    ("NVIDIA H100 PCIe", 756, 51, 2.0),
    ("NVIDIA H100 80GB HBM3", 989, 67, 3.35),
    ("NVIDIA H200", 989, 67, 4.8),
    ("NVIDIA A100-SXM4-80GB", 312, 19.5, 2.039),
    ("NVIDIA A100 80GB PCIe", 312, 19.5, 1.935),
    ("NVIDIA A100-SXM4-40GB", 312, 19.5, 1.555),
    ("NVIDIA L40S", 362, 91.6, 0.864),
    ("NVIDIA L4", 121, 30.3, 0.3),
    ("NVIDIA GeForce RTX 4090", 165.2, 82.6, 1.008),
)


def roof_of(devices: Sequence[torch.device], dtype: torch.dtype) -> tuple[Roof | None, str | None]:
    """Find the roofs of a model's devices, or return None and the reason. Those of a CPU are measured once in a
    process. Of several like GPUs they are those of one, as a model's layers run on one after the other."""
    if OUTSIDE in devices:
        return None, "weights that lie elsewhere are fetched during the runs"
    name, *others = sorted({device_name(device) for device in devices})
    if others:
        return None, f"the model is spread over different devices ({', '.join([name, *others])})"
    if devices[0].type == "cpu":
        return _measured(dtype, torch.get_num_threads()), None
    return listed_roof(name, dtype)


def listed_roof(name: str, dtype: torch.dtype) -> tuple[Roof | None, str | None]:
    """Look up the roofs of a GPU by its name, or return None and the reason."""
    if "MIG" in name:
        return None, f"{name} is a part of a board, and its data sheet describes the whole"
    for listed, half, single, memory in _DATA_SHEETS:
        if name == listed or name.startswith(f"{listed} "):
            peak = {torch.float16: half, torch.bfloat16: half, torch.float32: single}.get(dtype)
            if peak is None:
                break
            return Roof(peak * 1e12, memory * 1e12, f"data sheet of {listed}, without sparsity"), None
    return None, f"there is no data sheet figure for {name} in {str(dtype).removeprefix('torch.')} here"


@lru_cache
def _measured(dtype: torch.dtype, threads: int) -> Roof:
    """Take the best of a few matrix products and of a few copies, which read and write every byte once."""
    factor = torch.rand(MATRIX, MATRIX).to(dtype)
    block = torch.zeros(COPIED_BYTES, dtype=torch.uint8)
    target = torch.empty_like(block)
    product, copy = _fastest(lambda: factor @ factor), _fastest(lambda: target.copy_(block))
    source = (
        f"measured on this CPU with {threads} thread{'s' * (threads != 1)}: a product of two {MATRIX} × {MATRIX} "
        f"matrices and a copy of {COPIED_BYTES // 1024**2} MiB, the fastest of {TRIALS} each"
    )
    return Roof(2 * MATRIX**3 / product, 2 * COPIED_BYTES / copy, source)


def _fastest(run: Callable[[], object]) -> float:
    run()
    return min(timed(run)[1] for _ in range(TRIALS))
