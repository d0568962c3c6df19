"""What the tests of every room build their cases from: pictures, methods and places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from skipcore import AdaptiveSummary, Dense, Method, SkipVision, Vlm

ROOT = Path(__file__).resolve().parents[2]
SCENES = ROOT / "assets" / "models" / "scenes"
WIDTH = 48


def noise_picture(seed: int, width: int = 60, height: int = 40) -> Image.Image:
    """Blocks of random colors: no two visual tokens alike."""
    pixels = np.random.RandomState(seed).randint(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def trained_summary(width: int) -> AdaptiveSummary:
    """A summary whose weights are not zero, as after training."""
    summary = AdaptiveSummary(width)
    generator = torch.Generator().manual_seed(2)
    for parameter in summary.parameters():
        parameter.data.normal_(0, 0.5, generator=generator)
    return summary.requires_grad_(False)


def methods_for(vlm: Vlm) -> dict[str, Method]:
    """The table of methods that the laws run over."""
    width = vlm.model.get_decoder().config.hidden_size
    return {
        "dense": Dense(),
        "masked": SkipVision(0.2, 0.3),
        "masked, trained summary": SkipVision(0.2, 0.3, summary=trained_summary(width)),
        "masked, raster": SkipVision(0.3, 0.1, retain="raster", merge_order="redundancy"),
        "masked, uniform, renumbered": SkipVision(0.1, 0.5, retain="uniform", positions="renumbered"),
        "masked, nothing merged": SkipVision(0.5, 0.5, retain="random"),
        "masked, nothing retained": SkipVision(0, 0.25),
        "text sees skipped": SkipVision(0.2, 0.3, text_attends_skipped=True),
        "authors": SkipVision.paper("llava")
        if vlm.name == "scenes"
        else SkipVision(
            12, 16, text_attends_skipped=True, retain="raster", merge_order="redundancy", positions="renumbered"
        ),
        "CoS options": SkipVision(20, 16, summary_start=8, last_skipped_runs_ffn=True),
    }


METHOD_NAMES = [
    "dense",
    "masked",
    "masked, trained summary",
    "masked, raster",
    "masked, uniform, renumbered",
    "masked, nothing merged",
    "masked, nothing retained",
    "text sees skipped",
    "authors",
    "CoS options",
]
