"""What the runs ran on."""

from __future__ import annotations

import platform
from typing import Any

import torch
import transformers

from skipcore import Vlm
from skipcore.hardware import device_name


def device_facts(vlm: Vlm) -> dict[str, Any]:
    """Name and kind of the device, dtype, attention implementation and CPU threads of a model's runs."""
    return {
        "name": device_name(vlm.device),
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
