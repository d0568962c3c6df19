"""Memory and energy of a run on the GPU. What cannot be known is None, with the reason: None is not zero."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from time import perf_counter

import pynvml
import torch

MIN_ENERGY_WINDOW_S = 1.0
"""The energy counter of NVIDIA boards advances in steps of up to 100 ms; shorter windows are mostly its error."""


@dataclass
class GpuMeter:
    """Measures the runs of one arm: `with meter: …` around each of them.

    Attributes:
        device: that the runs run on.
        peak_bytes: highest peak so far of allocated memory above what was allocated when a run began.
        joules: energy of all runs so far.
        seconds: time of all runs so far.
    """

    device: torch.device
    peak_bytes: int = 0
    joules: float = 0.0
    seconds: float = 0.0
    runs: int = 0
    _board: object | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._board = _board_of(self.device)

    def __enter__(self) -> GpuMeter:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self._allocated = torch.cuda.memory_allocated(self.device)
        self._start, self._start_energy = perf_counter(), self._energy()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            peak = torch.cuda.max_memory_allocated(self.device) - self._allocated
            self.peak_bytes = max(self.peak_bytes, peak)
        self.seconds += perf_counter() - self._start
        self.joules += self._energy() - self._start_energy
        self.runs += 1

    @property
    def peak_memory_bytes(self) -> int | None:
        """Peak of allocated memory; None without a GPU."""
        return self.peak_bytes if self.device.type == "cuda" and self.runs else None

    @property
    def energy_per_run_j(self) -> float | None:
        """Mean energy of a run; None where there is no counter or the runs were too short for it."""
        return self.joules / self.runs if self.energy_unavailable is None else None

    @property
    def memory_unavailable(self) -> str | None:
        """Why there is no memory figure; None where there is one."""
        return None if self.device.type == "cuda" else "the runs were on the CPU, where no peak is kept per run"

    @property
    def energy_unavailable(self) -> str | None:
        """Why there is no energy figure; None where there is one."""
        if self.device.type != "cuda":
            return "the runs were on the CPU; energy is read from NVIDIA GPUs only"
        if self._board is None:
            return "this GPU has no energy counter of its own (shared, partitioned or older than Volta)"
        if self.seconds < MIN_ENERGY_WINDOW_S:
            return f"the runs took {self.seconds:.2f} s, too short for the GPU's energy counter: ask for more repeats"
        return None

    def _energy(self) -> float:
        if self._board is None:
            return 0.0
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(self._board) / 1000  # the counter is in millijoules


def _board_of(device: torch.device) -> object | None:
    """NVML's handle of a whole board with an energy counter; None where there is none."""
    if device.type != "cuda" or os.environ.get("SPACES_ZERO_GPU"):  # on ZeroGPU the board is shared
        return None
    try:
        pynvml.nvmlInit()
        board = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        if _is_partitioned(board):
            return None
        pynvml.nvmlDeviceGetTotalEnergyConsumption(board)
    except (pynvml.NVMLError, AttributeError):
        return None
    return board


def _is_partitioned(board: object) -> bool:
    try:
        return pynvml.nvmlDeviceGetMigMode(board)[0] == pynvml.NVML_DEVICE_MIG_ENABLE
    except pynvml.NVMLError_NotSupported:
        return False
