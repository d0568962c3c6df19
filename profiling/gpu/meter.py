"""Memory and energy of a run on the GPU. What cannot be known is None, with the reason: None is not zero."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pynvml
import torch

from profiling.clock import now

MIN_ENERGY_WINDOW_S = 1.0
"""The energy counter of NVIDIA boards advances in steps of up to 100 ms; shorter windows are mostly its error."""


@dataclass
class GpuMeter:
    """Measures the runs of one arm: `with meter.run(…):` around each of them.

    Attributes:
        devices: that the model lies on.
        peak_memory_bytes: the highest so far of allocated memory above what was allocated when a run began, over
            several GPUs the sum of each one's own peak; None where the model does not lie on GPUs alone.
        joules, seconds, energy_runs: energy of all boards, time and number of the runs whose energy was read.
    """

    devices: Sequence[torch.device]
    peak_memory_bytes: int | None = None
    joules: float = 0.0
    seconds: float = 0.0
    energy_runs: int = 0
    _boards: list[object] | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._boards = boards_of(self.devices)

    @contextmanager
    def run(self, energy: bool) -> Iterator[None]:
        """Measure one run, inside the `with`.

        Args:
            energy: whether to read the energy too. Not for a run that waits for a consumer between tokens: the boards
                use power meanwhile.
        """
        if not_on_gpus(self.devices) is not None:
            yield
            return
        start, joules = now(self.devices), self._counter()
        for device in self.devices:
            torch.cuda.reset_peak_memory_stats(device)
        allocated = sum(map(torch.cuda.memory_allocated, self.devices))
        yield
        seconds = now(self.devices) - start
        peak = sum(map(torch.cuda.max_memory_allocated, self.devices)) - allocated
        self.peak_memory_bytes = max(self.peak_memory_bytes or 0, peak)
        if energy:
            self.seconds += seconds
            self.joules += self._counter() - joules
            self.energy_runs += 1

    @property
    def energy_per_run_j(self) -> float | None:
        """Mean energy of a run; None where there is no counter or the runs were too short for it."""
        return self.joules / self.energy_runs if self.energy_unavailable is None else None

    @property
    def memory_unavailable(self) -> str | None:
        """The reason why there is no memory figure; None where there is one."""
        why = not_on_gpus(self.devices)
        return None if why is None else f"{why}, where no peak is kept per run"

    @property
    def energy_unavailable(self) -> str | None:
        """The reason why there is no energy figure; None where there is one."""
        if (why := not_on_gpus(self.devices)) is not None:
            return f"{why}; energy is read from NVIDIA GPUs only"
        if self._boards is None:
            return "this GPU has no energy counter of its own (shared, partitioned or older than Volta)"
        if self.seconds < MIN_ENERGY_WINDOW_S:
            return (
                f"the runs after the first took {self.seconds:.2f} s, too short for the GPU's energy counter: "
                "ask for more repeats"
            )
        return None

    def _counter(self) -> float:
        """Joules of all boards since the driver was loaded; 0 where there is no counter."""
        # the counters are in millijoules
        return sum(pynvml.nvmlDeviceGetTotalEnergyConsumption(board) / 1000 for board in self._boards or [])


def not_on_gpus(devices: Sequence[torch.device]) -> str | None:
    """Say why GPUs alone cannot account for a model's runs; None where it lies on them alone."""
    if all(device.type == "cuda" for device in devices):
        return None
    if not any(device.type == "cuda" for device in devices):
        return "the runs were on the CPU"
    return "a part of the model lies outside the GPUs"


def boards_of(devices: Sequence[torch.device]) -> list[object] | None:
    """Find the boards of all GPUs that a model lies on; None where one of them is not known."""
    boards = [board_of(device) for device in devices]
    return None if None in boards else boards


def board_of(device: torch.device) -> object | None:
    """Find NVML's handle of a whole board with an energy counter; None where there is none."""
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
