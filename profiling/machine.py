"""What the runs ran on."""

from __future__ import annotations

import platform
from typing import Any

import torch
import transformers

from skipcore import Vlm
from skipcore.model.hardware import devices_name, devices_of


def device_facts(vlm: Vlm) -> dict[str, Any]:
    """Names of the model's devices, kind of the first, dtype, attention implementation and CPU threads of its runs."""
    return {
        "name": devices_name(devices_of(vlm.model)),
        "kind": vlm.device.type,
        "dtype": str(vlm.model.dtype).removeprefix("torch."),
        "attention": vlm.model.get_decoder().config._attn_implementation,
        "threads": torch.get_num_threads(),
    }


def versions() -> dict[str, str]:
    """Versions that the figures depend on."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
    }
