"""Devices: where a model's inputs go, and the name that every record of figures gives."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import torch
import transformers
from torch import nn
from transformers import PreTrainedModel

from skipcore.model.cgroups import bytes_left


def input_device(model: PreTrainedModel) -> torch.device:
    """Where a model's inputs go, also where accelerate spreads its layers over devices and disk."""
    embedding = model.get_input_embeddings()
    executes_on = getattr(getattr(embedding, "_hf_hook", None), "execution_device", None)
    return embedding.weight.device if executes_on is None else torch.device(executes_on)


OUTSIDE = torch.device("meta")
"""Stands for memory or disk from which accelerate fetches weights whenever they are needed."""


def devices_of(model: nn.Module) -> tuple[torch.device, ...]:
    """The devices that hold a model's weights, in the order of its modules: several where accelerate spreads it, with
    `OUTSIDE` among them."""
    return tuple(dict.fromkeys(parameter.device for parameter in model.parameters()))


def synchronize(devices: Iterable[torch.device]) -> None:
    """Wait until the devices have done their work, so that the clock tells the truth."""
    for device in devices:
        if device.type == "cuda":
            torch.cuda.synchronize(device)


def free_bytes(device: torch.device) -> int:
    """Memory that a model can take now.

    Of a GPU, what torch holds there without using it is free, too; of this machine, for any other device, what the
    limits of the container leave.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    left, available = bytes_left(), int(psutil.virtual_memory().available)
    return available if left is None else min(left, available)


def device_name(device: torch.device) -> str:
    """The name of the GPU, or of this machine's processor for any other device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()


def devices_name(devices: Sequence[torch.device]) -> str:
    """The names of all devices of a model, equal ones counted: "2 × NVIDIA H200"."""
    counts = Counter(device_name(device) for device in devices if device.type != "meta")
    names = [name if count == 1 else f"{count} × {name}" for name, count in counts.items()]
    return " and ".join([*names, *(["weights kept elsewhere"] if OUTSIDE in devices else [])])


def device_facts(devices: Sequence[torch.device], dtype: str) -> dict[str, Any]:
    """Return what every record says of where it was measured: names of all devices, kind of the first, dtype, and
    threads of the CPU."""
    kind, threads = devices[0].type, torch.get_num_threads()
    return {"name": devices_name(devices), "kind": kind, "dtype": dtype, "threads": threads}


def versions(*more: ModuleType) -> dict[str, str]:
    """Return the versions that figures depend on: those of Python, torch, transformers and `more`."""
    modules = (torch, transformers, *more)
    return {"python": platform.python_version()} | {each.__name__: str(each.__version__) for each in modules}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next((name for name in names if name not in ("", "unknown")), platform.processor() or platform.machine())
