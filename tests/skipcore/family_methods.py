"""The table of methods that the laws of every family run over."""

from __future__ import annotations

from shared_models import trained_summary
from tiny_families import WIDTH

from skipcore import SkipVision
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
