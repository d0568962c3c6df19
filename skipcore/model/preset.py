"""The default method of a model that was neither trained nor calibrated for skipping."""

from __future__ import annotations

from skipcore.methods.pyramid_drop import PyramidDrop

PRESET = PyramidDrop()
"""PyramidDrop with its authors' stages: half of the visual tokens from a quarter of the layers on, a quarter from the
middle on, an eighth in the last quarter (47% of them in a layer on average), chosen by the attention of the prompt's
last token.

Why this one. Published quality: 98.8% of dense LLaVA-1.5-7B over its benchmarks at 41% of the TFLOPs, where FastV keeps
97.8% (both as the authors of TransPrune, arXiv 2507.20630, report them); this setting computes more than that. It takes
no look at the vision tower, so towers with and without a class token fare alike, and features are shared with the dense
run. It saves keys and values as it saves FLOPs: both by about half of the prompt's visual share. Rows are dropped, not
masked, so a prefill of 30 layers dispatches 10% more kernels than the dense one (`profiling.bench.dispatch` counts
them).

Rejected, at half of the FLOPs:

- Skip-FFN in the last layers (`SkipVision.untrained`), the default before: saves 7–15% of the FLOPs, no key, no value.
- DivPrune: its greedy choice takes three times the kernels of a dense prefill; on Qwen2.5-VL, pruning half before the
  decoder keeps 96.9% at best (arXiv 2512.07580, DivPrune with random pruning).
- SPIDER: 99.1% published, but the entropy of every visual token through the head in every layer takes twice the
  kernels of a dense prefill.
- VisionZip: 97.7% published at a third of the tokens, on CLIP; without a class token it scores the attention among all
  patches, and it needs an encoding of its own.
- FastV: 97.8% published.
- Uniform and random tokens: no published figure reaches 98%. They are the rivals that `calibrate` shows.
"""

_WHAT = (
    "Visual tokens that the question attends to least are dropped before three layers: half, then a quarter, then an "
    "eighth of them are left."
)
_SOURCE = (
    "PyramidDrop (CVPR 2025) keeps 98.8% of the quality of dense LLaVA-1.5-7B at fewer FLOPs than this (reported in "
    "arXiv 2507.20630); it was not measured on this model."
)
REASON = f"This model was not trained for skipping. {_WHAT} Why: {_SOURCE}"
"""What the preset does, why it is the default, and what is not known."""
