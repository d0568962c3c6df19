"""The table of methods that the laws of every family run over."""

from __future__ import annotations

from shared_models import trained_summary
from tiny_families import WIDTH

from skipcore import SkipVision
from skipcore.methods import (
    DART,
    SPIDER,
    VTW,
    Combined,
    DivPrune,
    Downsampled,
    FastV,
    OpSkip,
    PyramidDrop,
    RandomTokens,
    ShortV,
    TransPrune,
    UniformGrid,
    V2Drop,
    VisionZip,
)
from skipcore.methods.skip_vision import UNTRAINED

METHODS = {
    "masked": SkipVision(0.2, 0.3),
    "masked, trained summary": SkipVision(0.2, 0.3, summary=trained_summary(WIDTH)),
    "text sees skipped": SkipVision(0.2, 0.3, text_attends_skipped=True),
    "renumbered": SkipVision(0.3, 0.2, retain="raster", merge_order="redundancy", positions="renumbered"),
    "attention skipped, too": SkipVision(0.2, 0.3, attention_layers=(1,)),
    "some sub-layers, in place": SkipVision(0.4, 0.6, layers=(2,), attention_layers=(0, 2), **UNTRAINED),
    "in place, merged and masked": SkipVision(0.3, 0.3, layers=(0,), attention_layers=(1, 2), in_place=True),
}

PEERS = {
    "FastV": FastV(2, 0.3),
    "FastV, first layer": FastV(1, 7),
    "PyramidDrop": PyramidDrop((1, 2), (0.5, 0.2)),
    "V²Drop": V2Drop((1, 2), (0.5, 1)),
    "TransPrune": TransPrune((1, 2), (0.5, 0.2), first=0),
    "DART": DART(1, 0.4, visual_pivots=3, text_pivots=2),
    "VTW": VTW(2),
    "VTW, at once": VTW(0),
    "ShortV": ShortV(2, (2, 0, 1)),
    "Op-Skip": OpSkip(4, (5, 0, 3, 4, 1, 2)),
    "DivPrune": DivPrune(0.3),
    "Random": RandomTokens(0.3),
    "Uniform grid": UniformGrid(0.3),
}

SEEING_PEERS = {
    "Downsampled picture": Downsampled(0.3),
    "VisionZip": VisionZip(0.2, 0.1),
    "SPIDER": SPIDER(0.4, clusters=3, threshold=0, last_layer=2),
    "SPIDER, calibrated": SPIDER(
        0.4, clusters=3, threshold=0.6, ffn_kl=(0.5, 0.1, 0.4), attention_kl=(0.2, 0.3, 0.3), last_layer=2
    ),
}

COMBINED = {
    "DivPrune, then masked": Combined(DivPrune(0.6), SkipVision(0.3, 0.3)),
    "masked, then FastV": Combined(FastV(2, 0.3), SkipVision(0.3, 0.3)),
    "in place, then PyramidDrop": Combined(
        PyramidDrop((1, 2), (0.5, 0.2)), SkipVision(0.4, 0.6, layers=(0, 2), attention_layers=(1,), **UNTRAINED)
    ),
}
