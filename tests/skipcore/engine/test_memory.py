"""No method builds an n × n tensor or needs more memory than the dense model does, at 4,096 visual tokens."""

from __future__ import annotations

import pytest
import torch
from shared_models import noise_picture

from profiling.bench.dispatch import MemoryCount
from profiling.bench.random_models import DecoderSize, random_llava
from skipcore import Dense, Method, SkipVision, Vlm
from skipcore.methods import METHODS, Combined, DyMU, FastV, VisionZip
from skipcore.methods.skip_vision import UNTRAINED
from skipcore.tower.observer import attention_received

TOKENS = 64 * 64


@pytest.fixture(scope="module")
def wide() -> Vlm:
    return random_llava(DecoderSize(64, 8, 4, 2), image_size=128, patch_size=2, vision_width=32)


def memory_of(vlm: Vlm, method: Method) -> MemoryCount:
    inputs = vlm.prepare(noise_picture(0), "hm?").inputs
    with method(vlm.model), torch.inference_mode(), MemoryCount() as memory:
        vlm.model(**inputs, use_cache=True, logits_to_keep=1)
    return memory


def test_what_is_made_and_freed_is_counted() -> None:
    with MemoryCount() as memory:
        first = torch.ones(1000)
        for _ in range(3):
            first.view(10, 100).mul(2)
    assert (memory.largest, memory.peak) == (1000, 8000)


def test_attention_received_is_summed_up_by_rows() -> None:
    """A tower without a class token, where every patch is scored by what all others pay to it."""
    query = torch.randn(1, 2, TOKENS, 8)
    with MemoryCount() as memory:
        attention_received(query, query, None, 1.0)
    assert memory.largest <= TOKENS**2 / 8


MEASURED: dict[str, Method] = {
    **{name: method() for name, method in METHODS.items()},
    "DyMU, merging": DyMU((-1.0,)),
    "Skip-Vision, by halves": SkipVision(0.25, 0.5),
    "VisionZip, by thirds": VisionZip(0.3, 0.3),
    "Combined": Combined(FastV(2), SkipVision(0.3, 0.3)),
    "Combined, in place": Combined(FastV(2), SkipVision(0.5, 0.5, layers=(5,), attention_layers=(6,), **UNTRAINED)),
}


@pytest.fixture(scope="module")
def dense(wide: Vlm) -> MemoryCount:
    return memory_of(wide, Dense())


@pytest.mark.parametrize("name", MEASURED)
def test_no_square_and_no_more_than_dense(wide: Vlm, dense: MemoryCount, name: str) -> None:
    memory = memory_of(wide, MEASURED[name])
    assert memory.largest <= TOKENS**2 / 8
    assert memory.peak <= dense.peak
