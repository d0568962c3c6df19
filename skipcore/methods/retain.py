"""Rules that choose which visual tokens are retained. A new rule is one function and one entry in `RETAIN_RULES`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from skipcore.plan.image_plan import VisualTokens
from skipcore.plan.merge import redundancy

RetainRule = Callable[[VisualTokens, int, int], Tensor]


def raster(image: VisualTokens, count: int, seed: int) -> Tensor:
    """The first ones in reading order, as in the authors' LLaVA setting."""
    return torch.arange(count)


def uniform(image: VisualTokens, count: int, seed: int) -> Tensor:
    """Evenly spaced in reading order."""
    return ((torch.arange(count) + 0.5) * (len(image.features) / max(count, 1))).long()


def random(image: VisualTokens, count: int, seed: int) -> Tensor:
    """Drawn without replacement, the same for the same seed."""
    return torch.randperm(len(image.features), generator=torch.Generator().manual_seed(seed))[:count]


def saliency(image: VisualTokens, count: int, seed: int) -> Tensor:
    """The most distinct ones: those whose projected features resemble the rest of the picture least.

    The score is minus the redundancy that token merge computes anyway: one matrix–vector product, no attention
    matrix. Distinctness rather than the norm, because vision towers park global information in high-norm tokens
    on empty background, and because a token that resembles the others is what merging can replace.
    """
    return redundancy(image.features).neg().topk(count).indices.cpu()


def evenly(count: int, sizes: Sequence[int]) -> list[int]:
    """`count` shared out by size, in whole numbers: the ends of the shares are rounded."""
    ends = [round(count * end / sum(sizes)) for end in accumulate(sizes, initial=0)]
    return [end - start for start, end in pairwise(ends)]


RETAIN_RULES: dict[str, RetainRule] = {rule.__name__: rule for rule in (raster, uniform, random, saliency)}
