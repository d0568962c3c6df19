"""How far a method moves a model's next-token distributions from those of the dense model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from skipcore.answering.batch import greedy, log_probs
from skipcore.errors import InputError
from skipcore.methods import Dense
from skipcore.methods.method import Method
from skipcore.model.inputs import ImageLike
from skipcore.model.vlm import Vlm


@dataclass(frozen=True)
class Agreement:
    """Over the positions of one answer, or of several.

    Attributes:
        kl: mean Kullback–Leibler divergence KL(dense ‖ method) of the next-token distributions, in nats.
        top1: share of positions at which both find the same token likeliest.
    """

    kl: float
    top1: float

    @classmethod
    def between(cls, dense: Tensor, other: Tensor) -> Agreement:
        """Of two [positions, vocabulary] tables of log-probabilities. Tokens that are −∞ at every position of both pad
        the vocabulary, and count for nothing.

        Raises:
            InputError: they are not finite.
        """
        padding = (dense == -torch.inf).all(dim=0) & (other == -torch.inf).all(dim=0)
        terms = torch.nn.functional.kl_div(other, dense, reduction="none", log_target=True)
        kl = float(terms.masked_fill_(padding, 0).sum(dim=-1).mean())
        if not isfinite(kl):  # NaN would read as perfect agreement
            raise InputError("The next-token distributions are not finite: load the model with another dtype.")
        return cls(max(0.0, kl), float((dense.argmax(-1) == other.argmax(-1)).double().mean()))

    @classmethod
    def mean(cls, several: Sequence[Agreement]) -> Agreement:
        """The mean of several answers', each counting alike."""
        count = len(several)
        return cls(sum(each.kl for each in several) / count, sum(each.top1 for each in several) / count)


def log_probs_along(vlm: Vlm, inputs: dict[str, Any], method: Method, answer: Sequence[int]) -> Tensor:
    """`batch.log_probs` of one prompt and its answer: [len(answer), vocabulary] float32."""
    return log_probs(vlm, inputs, method, [answer])[0]


@dataclass(frozen=True)
class DenseAnswer:
    """One question about one picture, and how the dense model answered.

    Attributes:
        inputs: keyword arguments of the model.
        answer: token ids.
        dense: [answer, vocabulary] log-probabilities along it.
    """

    inputs: dict[str, Any]
    answer: list[int]
    dense: Tensor

    def agreement(self, vlm: Vlm, method: Method) -> Agreement:
        """How far a method agrees along the answer. The caller holds `vlm.lock`."""
        return Agreement.between(self.dense, log_probs_along(vlm, self.inputs, method, self.answer))


def answer_densely(
    vlm: Vlm, picture: ImageLike, question: str, answer_tokens: int, seen_by: Method | None = None
) -> DenseAnswer:
    """Ask the dense model. The caller holds `vlm.lock`.

    Args:
        seen_by: a method that looks at the vision tower, so that the features serve it too.
    """
    prepared = vlm.prepare(picture, question, answer_tokens)
    inputs = prepared.with_features(vlm.encode(prepared, seen_by))
    (answer,) = greedy(vlm, inputs, Dense(), answer_tokens)
    return DenseAnswer(inputs, answer, log_probs_along(vlm, inputs, Dense(), answer))


def one_for_each(pictures: Sequence[ImageLike], questions: str | Sequence[str]) -> list[str]:
    """A question for each picture: the same one for all, or as many as there are pictures."""
    if not isinstance(questions, str | list | tuple):
        raise InputError(f"Pass one question as text, or a list of as many as there are pictures, not {questions!r}.")
    texts = [questions] * len(pictures) if isinstance(questions, str) else list(questions)
    if len(texts) != len(pictures):
        raise InputError(
            f"There are {len(pictures)} pictures but {len(texts)} questions: pass one question, or as many."
        )
    return texts
