"""How sure shares of right answers are, and differences between them: 95% intervals."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

Z = 1.96

Marks = Sequence[Sequence[bool]]
"""For every picture, whether each of its questions was answered rightly."""


def wilson(right: int, asked: int) -> tuple[float, float]:
    """Wilson's score interval of a share; `asked` ≥ 1."""
    share = right / asked
    center = (share + Z**2 / (2 * asked)) / (1 + Z**2 / asked)
    half = Z * sqrt(share * (1 - share) / asked + Z**2 / (4 * asked**2)) / (1 + Z**2 / asked)
    return max(0.0, center - half), min(1.0, center + half)


def paired_difference(one: Marks, other: Marks) -> tuple[float, float | None]:
    """The share of `one` minus that of `other` on the same questions, and the half-width of its interval.

    Paired, so that what is hard for both does not count as chance; questions to one picture count as one draw
    (cluster-robust standard error of the mean, times G / (G − 1) for G pictures). None where there is one
    picture, of which nothing can be said.
    """
    differences = [[int(a) - int(b) for a, b in zip(*pair, strict=True)] for pair in zip(one, other, strict=True)]
    asked, pictures = sum(map(len, differences)), len(differences)
    mean = sum(map(sum, differences)) / asked
    if pictures == 1:
        return mean, None
    spread = sum(sum(each - mean for each in of_picture) ** 2 for of_picture in differences)
    return mean, Z * sqrt(spread * pictures / (pictures - 1)) / asked
