"""The board over a run, with a fake board; and None with a reason where there is none to watch."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
import torch

from profiling import compare
from profiling.gpu import meter as gpu
from profiling.gpu import samples as gpu_samples
from profiling.gpu.samples import watch

CUDA = torch.device("cuda", 0)


@pytest.fixture
def asked(monkeypatch) -> threading.Event:
    """A fake board; set once it was asked twice."""
    twice, count = threading.Event(), []

    def power(board: object) -> int:
        count.append(board)
        if len(count) == 2:
            twice.set()
        return 250_000

    monkeypatch.setattr(gpu, "board_of", lambda device: f"board {device.index}")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    nvml = {
        "nvmlDeviceGetUtilizationRates": lambda board: SimpleNamespace(gpu={"board 0": 40, "board 1": 20}[board]),
        "nvmlDeviceGetMemoryInfo": lambda board: SimpleNamespace(used={"board 0": 7, "board 1": 5}[board]),
        "nvmlDeviceGetPowerUsage": power,
    }
    for name, function in nvml.items():
        monkeypatch.setattr(gpu_samples.pynvml, name, function)
    return twice


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "gpu-samples"]


def test_samples_over_a_run(asked: threading.Event) -> None:
    samples, reason = watch([CUDA], lambda: assert_true(asked.wait(5)))
    assert reason is None and samples is not None and len(samples) >= 2
    assert (samples[0].utilization, samples[0].memory_bytes, samples[0].power_w) == (0.4, 7, 250.0)
    assert samples[0].ms < samples[1].ms and not threads()


def test_samples_over_several_boards(asked: threading.Event) -> None:
    samples, reason = watch([CUDA, torch.device("cuda", 1)], lambda: assert_true(asked.wait(5)))
    assert reason is None and samples is not None
    assert (samples[0].utilization, samples[0].memory_bytes, samples[0].power_w) == (pytest.approx(0.3), 12, 500.0)


def assert_true(value: bool) -> None:
    assert value


def test_a_run_that_fails_leaves_no_thread(asked: threading.Event) -> None:
    with pytest.raises(ZeroDivisionError):
        watch([CUDA], lambda: print(1 / 0))
    assert not threads()


def test_a_board_that_does_not_tell(asked: threading.Event, monkeypatch) -> None:
    def fail(board: object) -> None:
        raise gpu_samples.pynvml.NVMLError(gpu_samples.pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(gpu_samples.pynvml, "nvmlDeviceGetPowerUsage", fail)
    samples, reason = watch([CUDA], lambda: None)
    assert samples is None and "does not report" in str(reason)


def test_where_there_is_no_board_nothing_runs(monkeypatch) -> None:
    monkeypatch.setattr(gpu, "board_of", lambda device: None)
    cpu = torch.device("cpu")
    for devices, says in (([CUDA], "whole board"), ([cpu], "on the CPU"), ([CUDA, cpu], "outside the GPUs")):
        samples, reason = watch(devices, lambda: print(1 / 0))
        assert samples is None and says in str(reason)


def test_a_report_says_why_there_are_none(tiny, picture) -> None:
    report = compare(tiny, picture, "?", max_new_tokens=1)
    assert report.arms[0].gpu_samples is None and "CPU" in report.unavailable["gpu_samples"]
    assert report.to_dict()["arms"][0]["gpu_samples"] is None
