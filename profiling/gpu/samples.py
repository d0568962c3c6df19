"""Utilization, memory and power of the GPU over a run that no time is taken of: a thread asks NVML."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pynvml
import torch

from profiling.clock import now
from profiling.gpu.meter import boards_of, not_on_gpus
from skipcore.model.hardware import synchronize

INTERVAL_S = 0.02
"""NVML renews utilization and power a few times a second only; asking faster shows their steps, not more."""


@dataclass(frozen=True)
class GpuSample:
    """Readings of the board at one moment, or of all boards of a model that is spread over several.

    Attributes:
        ms: since the run began.
        utilization: share of NVML's last sample period in which a kernel ran, 0 to 1; the mean over the boards.
        memory_bytes: in use on the boards, by all processes.
        power_w: of the whole boards.
    """

    ms: float
    utilization: float
    memory_bytes: int
    power_w: float


def watch(devices: Sequence[torch.device], run: Callable[[], None]) -> tuple[tuple[GpuSample, ...] | None, str | None]:
    """Sample while `run` runs, or return None and the reason; where there is no board to watch, nothing runs.

    Args:
        devices: that the model lies on.
    """
    if (why := not_on_gpus(devices)) is not None:
        return None, f"{why}; only NVIDIA GPUs are watched"
    boards = boards_of(devices)
    if boards is None:
        return None, "NVML reports on whole boards, and this GPU is not one of its own"
    samples: list[GpuSample] = []
    failed: list[pynvml.NVMLError] = []
    done = threading.Event()
    start = now()

    def ask() -> None:
        try:
            while not done.is_set():
                samples.append(_sample(boards, 1000 * (now() - start)))
                done.wait(INTERVAL_S)
        except pynvml.NVMLError as error:
            failed.append(error)

    thread = threading.Thread(target=ask, name="gpu-samples", daemon=True)
    thread.start()
    try:
        run()
        synchronize(devices)
    finally:
        done.set()
        thread.join()
    if failed:
        return None, "NVML does not report utilization, memory and power of this GPU"
    return tuple(samples), None


def _sample(boards: Sequence[Any], ms: float) -> GpuSample:
    return GpuSample(
        ms,
        fmean(pynvml.nvmlDeviceGetUtilizationRates(board).gpu / 100 for board in boards),
        sum(int(pynvml.nvmlDeviceGetMemoryInfo(board).used) for board in boards),
        sum(pynvml.nvmlDeviceGetPowerUsage(board) / 1000 for board in boards),  # milliwatts
    )
