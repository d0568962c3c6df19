"""The methods: one small file each, and one entry here."""

from skipcore.methods.baselines import RandomTokens, UniformGrid
from skipcore.methods.combined import Combined
from skipcore.methods.dart import DART
from skipcore.methods.dense import Dense
from skipcore.methods.div_prune import DivPrune
from skipcore.methods.downsampled import Downsampled
from skipcore.methods.dymu import DyMU
from skipcore.methods.fastv import FastV
from skipcore.methods.method import Method
from skipcore.methods.op_skip import OpSkip
from skipcore.methods.pyramid_drop import PyramidDrop
from skipcore.methods.shortv import ShortV
from skipcore.methods.skip_vision import SkipVision
from skipcore.methods.spider import SPIDER
from skipcore.methods.trans_prune import TransPrune
from skipcore.methods.v2drop import V2Drop
from skipcore.methods.vision_zip import VisionZip
from skipcore.methods.vtw import VTW

METHODS: dict[str, type[Method]] = {
    method.__name__: method
    for method in (
        Dense,
        SkipVision,
        FastV,
        PyramidDrop,
        TransPrune,
        VisionZip,
        DivPrune,
        DART,
        V2Drop,
        ShortV,
        VTW,
        OpSkip,
        SPIDER,
        DyMU,
        RandomTokens,
        UniformGrid,
        Downsampled,
    )
}
"""By class name. `Combined` puts one of them before Skip-Vision."""

__all__ = [
    "DART",
    "METHODS",
    "SPIDER",
    "VTW",
    "Combined",
    "Dense",
    "DivPrune",
    "Downsampled",
    "DyMU",
    "FastV",
    "Method",
    "OpSkip",
    "PyramidDrop",
    "RandomTokens",
    "ShortV",
    "SkipVision",
    "TransPrune",
    "UniformGrid",
    "V2Drop",
    "VisionZip",
]
