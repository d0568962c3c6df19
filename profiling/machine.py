"""Facts about the machine that the runs ran on."""

from __future__ import annotations

from typing import Any

from skipcore import Vlm
from skipcore.model import hardware
from skipcore.model.hardware import devices_of


def device_facts(vlm: Vlm) -> dict[str, Any]:
    """Return names of the model's devices, kind of the first, dtype, attention implementation and CPU threads."""
    facts = hardware.device_facts(devices_of(vlm.model), str(vlm.model.dtype).removeprefix("torch."))
    return facts | {"kind": vlm.device.type, "attention": vlm.model.get_decoder().config._attn_implementation}
