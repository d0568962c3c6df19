"""Utilisation, memory and power of the GPU over one run of its own, which is in no time: a thread asks NVML."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import pynvml
import torch

from profiling.gpu import board_of

INTERVAL_S = 0.02
"""NVML renews utilisation and power a few times a second only; asking faster shows their steps, not more."""


@dataclass(frozen=True)
class GpuSample:
    """What the board said at one moment.

    Attributes:
        ms: since the run began.
        utilisation: share of NVML's last sample period in which a kernel ran, 0 to 1.
        memory_bytes: in use on the board, by all processes.
        power_w: of the whole board.
    """

    ms: float
    utilisation: float
    memory_bytes: int
    power_w: float


def watch(device: torch.device, run: Callable[[], None]) -> tuple[tuple[GpuSample, ...] | None, str | None]:
    """Samples while `run` runs, or None and the reason; where there is no board to watch, nothing runs."""
    if device.type != "cuda":
        return None, "the runs were on the CPU; only NVIDIA GPUs are watched"
    board = board_of(device)
    if board is None:
        return None, "this GPU is not a whole board of its own that NVML tells about"
    samples: list[GpuSample] = []
    failed: list[pynvml.NVMLError] = []
    done = threading.Event()
    start = perf_counter()

    def ask() -> None:
        try:
            while not done.is_set():
                samples.append(_sample(board, 1000 * (perf_counter() - start)))
                done.wait(INTERVAL_S)
        except pynvml.NVMLError as error:
            failed.append(error)

    thread = threading.Thread(target=ask, name="gpu-samples", daemon=True)
    thread.start()
    try:
        run()
        torch.cuda.synchronize(device)
    finally:
        done.set()
        thread.join()
    if failed:
        return None, "NVML does not tell utilisation, memory and power of this GPU"
    return tuple(samples), None


def _sample(board: Any, ms: float) -> GpuSample:
    return GpuSample(
        ms,
        pynvml.nvmlDeviceGetUtilizationRates(board).gpu / 100,
        int(pynvml.nvmlDeviceGetMemoryInfo(board).used),
        pynvml.nvmlDeviceGetPowerUsage(board) / 1000,  # milliwatts
    )
