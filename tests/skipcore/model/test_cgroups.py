"""Limits of containers: control groups of both versions, nested ones, and groups that are seen from inside."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from skipcore.model import hardware
from skipcore.model.cgroups import bytes_left
from skipcore.model.hardware import free_bytes

GIB = 2**30


def group(folder: Path, version: int, limit: int | str, used: int, cached: int = 0) -> None:
    """What the kernel tells of a group; half of the cached files are active."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current", "") if version == 2 else (
        "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"
    )  # fmt: skip
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    half = cached // 2
    text = f"anon 5\n{names[2]}inactive_file {half}\n{names[2]}active_file {half}\n"
    (folder / "memory.stat").write_text(text)


def own(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "own"
    file.write_text(text)
    return file


def test_version_2_as_a_container_sees_it(tmp_path: Path) -> None:
    group(tmp_path / "fs", 2, 16 * GIB, 10 * GIB, 4 * GIB)
    assert bytes_left(tmp_path / "fs", own(tmp_path, "0::/\n")) == 10 * GIB


def test_version_2_nested(tmp_path: Path) -> None:
    """The tightest of all groups around counts."""
    mount = tmp_path / "fs"
    file = own(tmp_path, "0::/pods/one/task\n")
    group(mount / "pods/one/task", 2, "max", 1 * GIB)
    assert bytes_left(mount, file) is None
    group(mount / "pods/one", 2, 4 * GIB, 3 * GIB)
    group(mount / "pods", 2, 64 * GIB, 63 * GIB, GIB // 2)
    assert bytes_left(mount, file) == GIB
    group(mount / "pods", 2, 64 * GIB, 63 * GIB + GIB // 2)
    assert bytes_left(mount, file) == GIB // 2


def test_version_1(tmp_path: Path) -> None:
    mount = tmp_path / "fs"
    file = own(tmp_path, "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n1:name=systemd:/docker/abc\n")
    group(mount / "memory/docker/abc", 1, 8 * GIB, 5 * GIB, 2 * GIB)
    group(mount / "memory", 1, 9223372036854771712, 20 * GIB)
    assert bytes_left(mount, file) == 5 * GIB


def test_the_path_of_the_host_is_not_below_the_mount_of_the_container(tmp_path: Path) -> None:
    mount = tmp_path / "fs"
    group(mount / "memory", 1, 2 * GIB, GIB)
    assert bytes_left(mount, own(tmp_path, "4:memory:/docker/abc\n")) == GIB


@pytest.mark.parametrize("text", ["", "0::/\n", "4:memory:/a\n", "0::/../..\n"])
def test_where_nothing_is_limited_or_told(tmp_path: Path, text: str) -> None:
    assert bytes_left(tmp_path / "none", own(tmp_path, text)) is None
    assert bytes_left(tmp_path / "none", tmp_path / "no such file") is None


def test_more_than_the_limit_leaves_nothing(tmp_path: Path) -> None:
    group(tmp_path / "fs", 2, GIB, 2 * GIB)
    assert bytes_left(tmp_path / "fs", own(tmp_path, "0::/\n")) == 0


def test_free_memory_is_the_least_of_machine_and_container(monkeypatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=6 * GIB))
    for left, free in ((2 * GIB, 2 * GIB), (9 * GIB, 6 * GIB), (None, 6 * GIB), (0, 0)):
        monkeypatch.setattr(hardware, "bytes_left", lambda left=left: left)
        assert free_bytes(torch.device("cpu")) == free


def test_free_memory_of_a_gpu_counts_what_torch_keeps_for_itself(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 10 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 4 * GIB)
    assert free_bytes(torch.device("cuda", 0)) == 9 * GIB
