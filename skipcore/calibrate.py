"""Where to skip, for a model that was not trained for it: measured on the user's own pictures.

Skipping every FFN of visual tokens without training ruins answers; a measured choice of sub-layers does not (SPIDER,
arXiv 2609.34977: sub-layer contribution). The measure is that of ShortV (ICCV 2025: layer contribution): the KL
divergence of the next-token distribution from the dense one with a part left out for visual tokens. The FFN update
(compare V²Drop's update norm) is recorded beside it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from skipcore.agreement import Agreement, DenseAnswer, answer_densely, log_probs_along, one_for_each
from skipcore.answer import check_max_new_tokens
from skipcore.calibration import Calibration, Choice
from skipcore.errors import InputError
from skipcore.families import decoder_layers
from skipcore.flops import FlopCount
from skipcore.inputs import ImageLike
from skipcore.measurements import Measured, Measurements, fingerprint
from skipcore.methods import Dense
from skipcore.methods.settings import Count
from skipcore.methods.skip_vision import UNTRAINED, SkipVision
from skipcore.plan import Role
from skipcore.vlm import Vlm

BUDGETS: tuple[tuple[Count, Count], ...] = ((0.5, 0.5), (0.25, 0.75), (0.1, 0.9), (0.25, 0.25), (0.1, 0.2))
"""Shares of retained and skipped tokens that are tried."""
LOOKAHEAD = 3
"""So many of the sub-layers that seem best are measured again, with those chosen already, before the next is chosen."""
RANDOM_CHOICES = 3

SubLayer = tuple[str, int]
"""("ffn", layer) or ("attention", layer)."""
Progress = Callable[[str, int, int], None]
"""Called with what is going on, the measurements done, and how many there will be at most."""


def calibrate(
    vlm: Vlm,
    pictures: Sequence[ImageLike],
    questions: str | Sequence[str],
    target: float = 0.5,
    *,
    base: SkipVision | None = None,
    budgets: Sequence[tuple[Count, Count]] = BUDGETS,
    answer_tokens: int = 8,
    record: str | Path | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Choose the layers whose FFN or attention skipped tokens bypass, and the budget, such that prefill takes the
    wanted FLOPs and the next-token distributions change least.

    Every sub-layer is measured alone; then they are chosen one by one, the least KL for the FLOPs it saves first, each
    measured together with those chosen before. For every choice the dense model's own answers are read through the KV
    cache, so that what leaves the cache counts too.

    Args:
        vlm: from `load`; locked while this runs.
        pictures: a handful like those that will be asked about.
        questions: one for all pictures, or one for each.
        target: FLOPs of the decoder's prefill, dense = 1; 0 < target < 1.
        base: the method whose layers and budget are chosen. Default: tokens stay in their place, text sees all, the
            cache keeps all.
        budgets: pairs of `num_retained` and `num_skipped` to try.
        answer_tokens: so many tokens of each answer are compared.
        record: a file of measurements. If it is there already, those it holds are not made again.
        progress: told after every measurement.

    Raises:
        InputError: bad pictures or settings; no budget reaches the target; the record is of something else.
    """
    base = base or SkipVision(**UNTRAINED)
    if isinstance(target, bool) or not isinstance(target, int | float) or not 0 < target < 1:
        raise InputError(f"target must be a share of the dense FLOPs between 0 and 1, not {target!r}.")
    check_max_new_tokens(answer_tokens)
    if not pictures or not budgets:
        raise InputError("calibrate needs at least one picture and one budget.")
    texts = one_for_each(pictures, questions)
    with vlm.lock:
        asked = [
            answer_densely(vlm, picture, text, answer_tokens) for picture, text in zip(pictures, texts, strict=True)
        ]
        bench = _Bench(
            vlm, base, asked, Measurements(record, fingerprint(vlm.name, base, [one.inputs for one in asked]))
        )
        return bench.calibration(target, list(dict.fromkeys(budgets)), progress)


class _Bench:
    """Measures choices of sub-layers on what was asked."""

    def __init__(self, vlm: Vlm, base: SkipVision, asked: Sequence[DenseAnswer], measurements: Measurements) -> None:
        self.vlm = vlm
        self.base = base
        self.asked = asked
        self.measurements = measurements
        self.num_layers = len(decoder_layers(vlm.model))
        self.sublayers: list[SubLayer] = [
            (kind, layer) for layer in range(self.num_layers) for kind in ("attention", "ffn")
        ]
        self.dense_flops = self._flops(Dense())

    def calibration(
        self, target: float, budgets: Sequence[tuple[Count, Count]], progress: Progress | None
    ) -> Calibration:
        """See `calibrate`."""
        most = len(budgets) * len(self.sublayers) * (1 + LOOKAHEAD) + 2 + RANDOM_CHOICES
        done = 0

        def tell(what: str) -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(what, done, most)

        found: list[tuple[Choice, _Budget]] = []
        for retained, skipped in budgets:
            method = replace(self.base, num_retained=retained, num_skipped=skipped)
            budget = _Budget(self, method, tell)
            if budget.reaches(target):
                found.append((budget.choose(target), budget))
        if not found:
            raise InputError(
                f"No budget reaches {target:.0%} of the dense FLOPs, even with every sub-layer skipped: raise the "
                "target, or pass budgets that retain and skip fewer tokens."
            )
        choice, budget = min(found, key=lambda each: (each[0].kl, each[0].flops))
        rivals = tuple(budget.rivals(target))
        best = min(choice, *rivals, key=lambda each: each.kl)  # greedy search does not promise to find the best
        choice = replace(best, name=choice.name)
        return Calibration(
            model=self.vlm.name,
            method=budget.method_of(choice.layers, choice.attention_layers),
            target=target,
            pictures=len(self.asked),
            positions=sum(len(one.answer) for one in self.asked),
            choice=choice,
            rivals=rivals,
            ffn_kl=budget.alone("ffn"),
            attention_kl=budget.alone("attention"),
            ffn_update=self._updates(budget.method),
        )

    def measure(self, method: SkipVision) -> Measured:
        """KL, top-1 agreement and FLOPs of a method, unless the record holds them already."""
        if (known := self.measurements.get(method)) is not None:
            return known
        agreements = [
            Agreement.between(one.dense, log_probs_along(self.vlm, one.inputs, method, one.answer))
            for one in self.asked
        ]
        mean = Agreement.mean(agreements)
        return self.measurements.add(method, Measured(self._flops(method) / self.dense_flops, mean.kl, mean.top1))

    @torch.inference_mode()
    def _flops(self, method: SkipVision | Dense) -> int:
        """Of the prefill of the first question."""
        with method(self.vlm.model), FlopCount() as count:
            self.vlm.model(**self.asked[0].inputs, logits_to_keep=1)
        return count.total

    @torch.inference_mode()
    def _updates(self, method: SkipVision) -> tuple[float, ...]:
        """Median FFN update by layer of the tokens that `method` would skip, in the dense model."""
        updates = []
        for one in self.asked:
            with method(self.vlm.model) as session:
                self.vlm.model(**one.inputs, logits_to_keep=1)
            skipped = session.trace.role == Role.SKIPPED
            with Dense()(self.vlm.model, record=True) as session:
                self.vlm.model(**one.inputs, logits_to_keep=1)
            recorded = session.trace.ffn_update
            assert recorded is not None
            updates.append(recorded[:, session.trace.token_slot[skipped]])
        return tuple(torch.cat(updates, dim=1).float().median(dim=1).values.tolist())


class _Budget:
    """One budget: what each sub-layer costs and saves there, and what is chosen."""

    def __init__(self, bench: _Bench, method: SkipVision, tell: Callable[[str], None]) -> None:
        self.bench = bench
        self.method = method
        self.tell = tell
        self.name = f"{method.num_retained}+{method.num_skipped}"
        self.none = self.measure(())
        self.single = {one: self.measure((one,)) for one in bench.sublayers}

    def method_of(self, layers: Sequence[int], attention_layers: Sequence[int]) -> SkipVision:
        """The method that skips these sub-layers."""
        return replace(self.method, layers=tuple(layers), attention_layers=tuple(attention_layers))

    def measure(self, chosen: Iterable[SubLayer]) -> Measured:
        """What skipping the chosen sub-layers does."""
        measured = self.bench.measure(self.method_of(*_by_kind(chosen)))
        self.tell(f"budget {self.name}")
        return measured

    def alone(self, kind: str) -> tuple[float, ...]:
        """KL of each layer's sub-layer alone."""
        return tuple(self.single[kind, layer].kl for layer in range(self.bench.num_layers))

    def saving(self, sublayer: SubLayer) -> float:
        """FLOPs that skipping it saves, dense = 1."""
        return self.none.flops - self.single[sublayer].flops

    def flops(self, chosen: Iterable[SubLayer]) -> float:
        """Of a choice: what sub-layers save adds up."""
        return self.none.flops - sum(map(self.saving, chosen))

    def reaches(self, target: float) -> bool:
        """Whether skipping everything is enough."""
        return self.flops(self.bench.sublayers) <= target

    def choose(self, target: float) -> Choice:
        """Greedily: the least KL for the FLOPs saved first. What turns out not to be needed is taken back."""
        chosen: list[SubLayer] = []
        now = self.none.kl
        rise = {one: max(0.0, self.single[one].kl - self.none.kl) for one in self.bench.sublayers}
        while self.flops(chosen) > target:
            left = [one for one in self.bench.sublayers if one not in chosen and self.saving(one) > 0]
            best = sorted(left, key=lambda one: rise[one] / self.saving(one))[:LOOKAHEAD]
            for one in best:
                rise[one] = max(0.0, self.measure([*chosen, one]).kl - now)
            chosen.append(min(best, key=lambda one: rise[one] / self.saving(one)))
            now = self.measure(chosen).kl
        for one in sorted(chosen, key=lambda one: -rise[one]):
            fewer = [other for other in chosen if other != one]
            if self.flops(fewer) <= target:
                chosen = fewer
        return self.choice("calibrated", chosen)

    def rivals(self, target: float) -> Iterable[Choice]:
        """Choices that measure nothing, of as many FLOPs: sub-layers one by one until the target is reached."""
        yield self.choice("first layers", self._until(self.bench.sublayers, target))
        yield self.choice("last layers", self._until(self.bench.sublayers[::-1], target))
        for number in range(RANDOM_CHOICES):
            drawn = random.Random(number).sample(self.bench.sublayers, len(self.bench.sublayers))
            yield self.choice(f"random layers {number + 1}", self._until(drawn, target))

    def choice(self, name: str, chosen: Sequence[SubLayer]) -> Choice:
        """The record of a choice."""
        measured = self.measure(chosen)
        return Choice(name, *_by_kind(chosen), measured.flops, measured.kl, measured.top1)

    def _until(self, order: Sequence[SubLayer], target: float) -> list[SubLayer]:
        chosen: list[SubLayer] = []
        for one in order:
            if self.flops(chosen) <= target:
                break
            chosen.append(one)
        return chosen


def _by_kind(chosen: Iterable[SubLayer]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(layers whose FFN is skipped, layers whose attention is)."""
    several = list(chosen)
    ffn, attention = (tuple(sorted(n for kind, n in several if kind == wanted)) for wanted in ("ffn", "attention"))
    return ffn, attention
