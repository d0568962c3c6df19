"""What the runs ran on."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch
import transformers

from skipcore import Vlm


def device_facts(vlm: Vlm) -> dict[str, Any]:
    """Name and kind of the device, dtype, attention implementation and CPU threads of a model's runs."""
    on_gpu = vlm.device.type == "cuda"
    return {
        "name": torch.cuda.get_device_name(vlm.device) if on_gpu else _cpu_name(),
        "kind": vlm.device.type,
        "dtype": str(vlm.model.dtype).removeprefix("torch."),
        "attention": vlm.model.get_decoder().config._attn_implementation,
        "threads": torch.get_num_threads(),
    }


def versions() -> dict[str, str]:
    """Versions that the figures depend on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next((name for name in names if name not in ("", "unknown")), platform.processor() or platform.machine())
