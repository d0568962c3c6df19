"""Memory and energy: what cannot be known is None with a reason. The board is a fake one: there may be no GPU here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from profiling import clock as profiling_clock
from profiling.gpu import meter as gpu
from profiling.gpu.meter import GpuMeter

CUDA = torch.device("cuda", 0)


def test_on_the_cpu_nothing_is_known() -> None:
    meter = GpuMeter([torch.device("cpu")])
    with meter.run(energy=True):
        pass
    assert meter.peak_memory_bytes is None and "CPU" in meter.memory_unavailable
    assert meter.energy_per_run_j is None and "CPU" in meter.energy_unavailable


@pytest.fixture
def board(monkeypatch):
    """A board that has used 5 J more at each look; a second passes between two looks at the clock."""
    state = SimpleNamespace(joules=0, clock=0.0, step=1.0, partitioned=False, waited=[], without=())

    def energy(handle):
        if handle in state.without:
            raise gpu.pynvml.NVMLError(gpu.pynvml.NVML_ERROR_NOT_SUPPORTED)
        state.joules += 5
        return state.joules * 1000

    def clock():
        state.clock += state.step
        return state.clock

    nvml = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
        "nvmlDeviceGetMigMode": lambda handle: (int(state.partitioned), 0),
        "nvmlDeviceGetTotalEnergyConsumption": energy,
    }
    cuda = {
        "synchronize": lambda device: state.waited.append(device.index),
        "reset_peak_memory_stats": lambda device: None,
        "memory_allocated": lambda device: 1000 * (1 + device.index),
        "max_memory_allocated": lambda device: 1700 * (1 + device.index),
        "get_device_properties": lambda device: SimpleNamespace(uuid=f"{device.index}"),
    }
    for name, function in nvml.items():
        monkeypatch.setattr(gpu.pynvml, name, function)
    for name, function in cuda.items():
        monkeypatch.setattr(torch.cuda, name, function)
    monkeypatch.setattr(profiling_clock, "perf_counter", clock)
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    return state


def test_on_a_whole_board(board) -> None:
    meter = GpuMeter([CUDA])
    for _ in range(2):
        with meter.run(energy=True):
            pass
    with meter.run(energy=False):
        pass
    assert meter.peak_memory_bytes == 700
    assert meter.energy_per_run_j == 5
    assert meter.energy_unavailable is None and meter.memory_unavailable is None


def test_runs_too_short_for_the_counter(board) -> None:
    board.step = 0.01
    meter = GpuMeter([CUDA])
    with meter.run(energy=True):
        pass
    assert meter.energy_per_run_j is None and "too short" in meter.energy_unavailable
    assert meter.peak_memory_bytes == 700


@pytest.mark.parametrize("why", ["partitioned", "ZeroGPU", "no NVML", "no counter"])
def test_boards_without_a_counter_of_their_own(board, why: str, monkeypatch) -> None:
    def fail(*args):
        raise gpu.pynvml.NVMLError(gpu.pynvml.NVML_ERROR_NOT_SUPPORTED)

    if why == "partitioned":
        board.partitioned = True
    elif why == "ZeroGPU":
        monkeypatch.setenv("SPACES_ZERO_GPU", "1")
    else:
        name = "nvmlInit" if why == "no NVML" else "nvmlDeviceGetTotalEnergyConsumption"
        monkeypatch.setattr(gpu.pynvml, name, fail)
    meter = GpuMeter([CUDA])
    with meter.run(energy=True):
        pass
    assert meter.energy_per_run_j is None and "no energy counter" in meter.energy_unavailable


def test_over_several_boards(board) -> None:
    """Memory and energy are the sums, and every device is waited for."""
    meter = GpuMeter([CUDA, torch.device("cuda", 1)])
    board.waited.clear()
    with meter.run(energy=True):
        pass
    assert board.waited == [0, 1, 0, 1]
    assert meter.peak_memory_bytes == 700 + 1400
    assert meter.energy_per_run_j == 5 + 5 + 10  # the fake counter, which all boards share, was asked four times
    assert meter.energy_unavailable is None and meter.memory_unavailable is None


def test_one_board_of_several_without_a_counter(board) -> None:
    board.without = ("GPU-1",)
    meter = GpuMeter([CUDA, torch.device("cuda", 1)])
    with meter.run(energy=True):
        pass
    assert meter.peak_memory_bytes == 2100
    assert meter.energy_per_run_j is None and "no energy counter" in meter.energy_unavailable


@pytest.mark.parametrize("other", ["cpu", "meta"])
def test_a_model_that_lies_partly_elsewhere(board, other: str) -> None:
    meter = GpuMeter([CUDA, torch.device(other)])
    with meter.run(energy=True):
        pass
    assert meter.peak_memory_bytes is None and "outside the GPUs" in meter.memory_unavailable
    assert meter.energy_per_run_j is None and "outside the GPUs" in meter.energy_unavailable
