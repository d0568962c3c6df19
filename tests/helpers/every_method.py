"""A table of methods with what they do to 64 visual tokens in 3 layers, and their traces on the tiny model."""

from __future__ import annotations

import torch
from PIL import Image

from skipcore import Dense, Method, SkipVision, Trace, Vlm
from skipcore.methods import (
    DART,
    SPIDER,
    VTW,
    Combined,
    DivPrune,
    Downsampled,
    DyMU,
    FastV,
    PyramidDrop,
    RandomTokens,
    ShortV,
    UniformGrid,
    V2Drop,
    VisionZip,
)
from skipcore.methods.skip_vision import UNTRAINED

FULL = ["64 running in full"]
QUARTER = ["16 running in full", "48 dropped before the decoder"]
IN_TWO_STAGES = [
    FULL,
    ["32 running in full", "32 dropped at layer 2"],
    ["16 running in full", "48 dropped at layers 2 and 3"],
]
SKIPPING = ["16 running in full", "16 skipping the FFN, dropped from the KV cache", "32 merged into others"]

CASES: dict[str, tuple[Method, list[list[str]]]] = {
    "dense": (Dense(), [FULL] * 3),
    "FastV": (FastV(1, 0.5), [FULL] + [["32 running in full", "32 dropped at layer 2"]] * 2),
    "DART": (DART(2, 16, 3, 2), [FULL] * 2 + [["16 running in full", "48 dropped at layer 3"]]),
    "PyramidDrop": (PyramidDrop((1, 2), (0.5, 0.25)), IN_TWO_STAGES),
    "V²Drop": (V2Drop((1, 2), (0.5, 0.25)), IN_TWO_STAGES),
    "VTW": (VTW(2), [FULL] * 2 + [["64 dropped at layer 3"]]),
    "ShortV": (ShortV(2), [FULL] + [["64 frozen (key and value only), from layer 2 on"]] * 2),
    "ShortV, first and last": (
        ShortV(2, (0, 2)),
        [["64 frozen (key and value only)"], FULL, ["64 frozen (key and value only), from layer 3 on"]],
    ),
    "DivPrune": (DivPrune(0.25), [QUARTER] * 3),
    "Random": (RandomTokens(0.25), [QUARTER] * 3),
    "Uniform grid": (UniformGrid(0.25), [QUARTER] * 3),
    "VisionZip": (VisionZip(13, 3), [["16 running in full", "48 merged into others"]] * 3),
    "Downsampled": (Downsampled(0.25), [["16 running in full", "48 merged into others"]] * 3),
    "DyMU": (DyMU((0.3,)), [["32 running in full", "32 merged into others"]] * 3),
    "SPIDER": (
        SPIDER(0.5, threshold=1.5, last_layer=2, ffn_kl=(2.0,) * 3, attention_kl=(1.0,) * 3),
        [
            ["32 running in full", "32 dropped before the decoder"],
            *[["32 skipping attention, from layer 2 on", "32 dropped before the decoder"]] * 2,
        ],
    ),
    "Skip-Vision": (SkipVision(0.25, 0.25), [SKIPPING] * 3),
    "Skip-Vision, some sub-layers": (
        SkipVision(0.5, 0.5, layers=(0, 2), attention_layers=(1, 2), **UNTRAINED),
        [
            ["32 running in full", "32 skipping the FFN"],
            ["32 running in full", "32 skipping attention"],
            ["32 running in full", "32 frozen (key and value only)"],
        ],
    ),
    "Skip-Vision, last layers": (
        SkipVision(0.5, 0.5, layers=(1,), attention_layers=(2,), **UNTRAINED),
        [
            FULL,
            ["32 running in full", "32 skipping the FFN, from layer 2 on"],
            ["32 running in full", "32 skipping attention, from layer 2 on"],
        ],
    ),
    "DivPrune, then Skip-Vision": (
        Combined(DivPrune(0.5), SkipVision(0.25, 0.25)),
        [
            [
                "8 running in full",
                "8 skipping the FFN, dropped from the KV cache",
                "16 merged into others",
                "32 dropped before the decoder",
            ]
        ]
        * 3,
    ),
    "VTW, after Skip-Vision": (Combined(VTW(1), SkipVision(0.25, 0.25)), [SKIPPING] + [["64 dropped at layer 2"]] * 2),
}


def trace_on(vlm: Vlm, picture: Image.Image, method: Method) -> Trace:
    """The recorded trace of a prefill."""
    inputs = vlm.prepare(picture, "What is it?").inputs
    with method(vlm.model, record=True) as session, torch.inference_mode():
        vlm.model(**inputs, use_cache=True)
    return session.trace
