"""What to drop and where to skip, for a model that was not trained for it: measured on the user's own pictures.

Skipping every FFN of visual tokens without training ruins answers; a measured choice does not (SPIDER, arXiv
2609.34977: sub-layer contribution). The measure is that of ShortV (ICCV 2025: layer contribution): the KL divergence of
the next-token distributions from the dense ones. The FFN update (compare V²Drop's update norm) is recorded beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from skipcore.answering.agreement import Agreement, DenseAnswer, answer_densely, log_probs_along, one_for_each
from skipcore.answering.generate import check_max_new_tokens
from skipcore.calibration.candidates import RIVALS, RULES, SKIPPED_SHARES, Rule, SubLayer, rule_of, skipping
from skipcore.calibration.choice import Calibration, Choice
from skipcore.calibration.measurements import Measured, Measurements, fingerprint
from skipcore.errors import InputError
from skipcore.families import decoder_layers, kinds_of
from skipcore.flops import FlopCount
from skipcore.methods import Combined, Dense, Method, SkipVision, VisionZip
from skipcore.model.inputs import ImageLike, several_pictures
from skipcore.model.preset import PRESET
from skipcore.model.vlm import Vlm

STEPS = 20
"""Shares of tokens are tried in steps of 1/20."""
BETWEEN = (0.25, 0.5, 0.75, 1.0)
"""Where between the share that is small enough without skipping, and the largest that the KV target allows, shares are
tried together with skipping."""
LOOKAHEAD = 3
"""So many of the sub-layers that seem best are measured again, with those chosen already, before the next is chosen."""

Progress = Callable[[str, int, int], None]
"""Called with what is going on, the measurements done, and how many there will be at most."""


def calibrate(
    vlm: Vlm,
    pictures: Sequence[ImageLike],
    questions: str | Sequence[str],
    target: float = 0.5,
    kv_target: float = 0.6,
    *,
    rules: Sequence[str] = RULES,
    answer_tokens: int = 8,
    record: str | Path | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Choose by which rule visual tokens are dropped, how many of them, and which sub-layers those that are left skip,
    such that prefill takes the wanted FLOPs, the KV cache the wanted bytes, and the next-token distributions change
    least.

    Every sub-layer is measured alone, skipped by all visual tokens. Then each rule is tried with the most tokens that
    the KV target allows, with the most that reach both targets without skipping, and between; where FLOPs are left to
    save, all of the remaining tokens, or half of them, skip sub-layers, the least KL for the FLOPs saved first. The
    best candidate's sub-layers are chosen again one by one, each measured together with those chosen before. For every
    candidate the dense model's own answers are read through the KV cache, so that what is dropped from it counts, too.

    Args:
        vlm: from `load`; locked while this runs.
        pictures: a handful like those that will be asked about; what is in reach goes by all of them together.
        questions: one for all pictures, or one for each.
        target: FLOPs of the decoder's prefill, dense = 1; 0 < target < 1.
        kv_target: bytes of the KV cache after prefill, dense = 1; 0 < kv_target ≤ 1.
        rules: names in `candidates.RULES`.
        answer_tokens: so many tokens of each answer are compared.
        record: a file of measurements. If it is there already, those it holds are not made again.
        progress: called after every measurement.

    Raises:
        InputError: bad pictures or settings; nothing reaches the targets; the record is of something else.
    """
    for name, share, most in (("target", target, "below 1"), ("kv_target", kv_target, "at most 1")):
        is_number = isinstance(share, int | float) and not isinstance(share, bool)
        if not is_number or not 0 < share <= 1 or (share == 1 and name == "target"):
            raise InputError(f"{name} must be a share of the dense model's, above 0 and {most}, not {share!r}.")
    check_max_new_tokens(answer_tokens)
    pictures = several_pictures(pictures, "calibrate")
    if not rules:
        raise InputError("calibrate needs at least one rule.")
    if unknown := [name for name in rules if name not in RULES]:
        raise InputError(f"There is no rule {unknown[0]!r}: choose from {', '.join(RULES)}.")
    texts = one_for_each(pictures, questions)
    with vlm.lock:
        seen_by = VisionZip()  # its look at the tower does not change the features, so that all share them
        asked = [
            answer_densely(vlm, picture, text, answer_tokens, seen_by)
            for picture, text in zip(pictures, texts, strict=True)
        ]
        measurements = Measurements(record, fingerprint(vlm.name, asked))
        return _Search(vlm, asked, measurements, target, kv_target, progress).calibration(list(dict.fromkeys(rules)))


class _Search:
    """Measures candidates on what was asked."""

    def __init__(
        self,
        vlm: Vlm,
        asked: Sequence[DenseAnswer],
        measurements: Measurements,
        target: float,
        kv_target: float,
        progress: Progress | None,
    ) -> None:
        self.vlm, self.asked, self.measurements = vlm, asked, measurements
        self.target, self.kv_target, self.progress = target, kv_target, progress
        self.num_layers = len(decoder_layers(vlm.model))
        self.sublayers: list[SubLayer] = [
            (kind, layer) for layer in range(self.num_layers) for kind in ("attention", "ffn")
        ]
        self.done = self.most = 0
        layouts = [tuple(kinds_of(vlm.model.config, one.inputs["input_ids"])[0].tolist()) for one in asked]
        inputs = {layout: one.inputs for layout, one in zip(layouts, asked, strict=True)}
        self._alike = [(inputs[layout], count) for layout, count in Counter(layouts).items()]
        self._dense = self.prefill(Dense())

    def calibration(self, rules: Sequence[str]) -> Calibration:
        """See `calibrate`."""
        candidates = len(rules) * (1 + len(BETWEEN) * len(SKIPPED_SHARES))
        self.most = len(self.sublayers) * (1 + LOOKAHEAD) + candidates + len(RIVALS) + 2
        self.single = {one: self.measure(skipping(None, 1.0, [one])) for one in self.sublayers}
        found = [each for name in rules for each in self.candidates(rule_of(name, self.num_layers))]
        if not found:
            raise InputError(
                f"Nothing reaches {self.target:.0%} of the dense FLOPs and {self.kv_target:.0%} of the KV cache, even "
                "with every sub-layer skipped: raise the targets, or ask about larger pictures."
            )
        best = min(found, key=self.change)
        if skips := _skipping_of(best):
            best = min(best, self.chosen_again(best, skips), key=self.change)
        rivals = {"preset": PRESET} | {
            name: self.most_tokens(rule_of(method, self.num_layers)) for name, method in RIVALS.items()
        }
        known = {name: self.measure(method) for name, method in rivals.items() if method is not None}
        within = [name for name in known if self.within(known[name])]
        for name in within:  # a search does not promise to find the best
            best = min(best, rivals[name] or best, key=self.change)
        return Calibration(
            model=self.vlm.name,
            method=best,
            target=self.target,
            kv_target=self.kv_target,
            pictures=len(self.asked),
            positions=sum(len(one.answer) for one in self.asked),
            choice=self.choice("calibrated", best),
            rivals=tuple(self.choice(name, rivals[name] or best) for name in known),
            ffn_kl=tuple(self.single["ffn", layer].kl for layer in range(self.num_layers)),
            attention_kl=tuple(self.single["attention", layer].kl for layer in range(self.num_layers)),
            ffn_update=self.updates(),
        )

    # Candidates

    def candidates(self, rule: Rule) -> Iterable[Method]:
        """Those of a rule that reach the targets."""
        most, enough = self.last_share(rule, kv_only=True), self.last_share(rule)
        if enough is not None:
            self.measure(rule(enough))
            yield rule(enough)
        if most is None or most == enough:
            return
        least = enough or 0.0
        for share in (least + part * (most - least) for part in BETWEEN):
            for skipped in SKIPPED_SHARES:
                dropping = rule(round(share, 4)) if share < 1 else None
                if (method := self.skipping_enough(dropping, skipped)) is not None:
                    yield method

    def last_share(self, rule: Rule, kv_only: bool = False) -> float | None:
        """The largest share of tokens within the targets; None if there is none."""
        low, high = 0, STEPS
        while low < high:
            middle = (low + high + 1) // 2
            flops, kv = self.cost(rule(middle / STEPS))
            if kv <= self.kv_target and (kv_only or flops <= self.target):
                low = middle
            else:
                high = middle - 1
        return low / STEPS if low else None

    def most_tokens(self, rule: Rule) -> Method | None:
        """A rule with the most tokens within both targets."""
        share = self.last_share(rule)
        return None if share is None else rule(share)

    def skipping_enough(self, dropping: Method | None, skipped: float) -> Method | None:
        """A share of what a method leaves skips sub-layers, as few as reach the FLOPs; None if all do not."""
        if self.cost(skipping(dropping, skipped, self.sublayers))[0] > self.target:
            return None
        order = sorted(self.sublayers, key=self.price)
        low, high = 1, len(order)
        while low < high:  # the fewest of the cheapest that are enough
            middle = (low + high) // 2
            enough = self.cost(skipping(dropping, skipped, order[:middle]))[0] <= self.target
            low, high = (low, middle) if enough else (middle + 1, high)
        method = skipping(dropping, skipped, order[:low])
        self.measure(method)
        return method

    def price(self, sublayer: SubLayer) -> float:
        """KL for the FLOPs that skipping it saves."""
        single = self.single[sublayer]
        return single.kl / max(1 - single.flops, 1e-9)

    def chosen_again(self, method: Method, skips: SkipVision) -> Method:
        """The same with sub-layers chosen greedily: the least rise of KL for the FLOPs saved first."""
        dropping = method.dropping if isinstance(method, Combined) else None
        skipped = float(skips.num_skipped)
        chosen: list[SubLayer] = []
        now = self.measure(dropping or Dense())
        rise = {one: self.single[one].kl for one in self.sublayers}
        while now.flops > self.target:
            left = [one for one in self.sublayers if one not in chosen and self.single[one].flops < 1]
            best = sorted(left, key=lambda one: rise[one] / (1 - self.single[one].flops))[:LOOKAHEAD]
            tried = {one: self.measure(skipping(dropping, skipped, [*chosen, one])) for one in best}
            rise |= {one: max(0.0, each.kl - now.kl) for one, each in tried.items()}
            taken = min(best, key=lambda one: rise[one] / (1 - self.single[one].flops))
            chosen.append(taken)
            now = tried[taken]
        return skipping(dropping, skipped, chosen)

    # Measuring

    def within(self, measured: Measured) -> bool:
        """Whether both targets are reached."""
        return measured.flops <= self.target and measured.kv <= self.kv_target

    def change(self, method: Method) -> tuple[float, float]:
        """What is made as small as possible: the KL, and then the FLOPs."""
        measured = self.measure(method)
        return measured.kl, measured.flops

    def choice(self, name: str, method: Method) -> Choice:
        """The record of a choice."""
        measured = self.measure(method)
        skips = _skipping_of(method)
        ffn, attention = (skips.layers or (), skips.attention_layers) if skips else ((), ())
        return Choice(name, method.label, tuple(ffn), tuple(attention), **vars(measured))

    def measure(self, method: Method) -> Measured:
        """KL, top-1 agreement, FLOPs and KV bytes of a method, unless the record holds them already."""
        if (known := self.measurements.get(method)) is None:
            agreements = [
                Agreement.between(one.dense, log_probs_along(self.vlm, one.inputs, method, one.answer))
                for one in self.asked
            ]
            mean = Agreement.mean(agreements)
            known = self.measurements.add(method, Measured(*self.cost(method), mean.kl, mean.top1))
            self.done += 1
            if self.progress is not None:
                self.progress(method.label, self.done, max(self.most, self.done))
        return known

    def cost(self, method: Method) -> tuple[float, float]:
        """FLOPs and KV bytes of the prefill of all questions, dense = 1."""
        flops, kv_bytes = self.prefill(method)
        return flops / self._dense[0], kv_bytes / self._dense[1]

    @torch.inference_mode()
    def prefill(self, method: Method) -> tuple[int, int]:
        """FLOPs and KV bytes of the prefill of all questions. Those whose prompts are alike, in their length and in the
        places of visual tokens, cost the same, and one of them is run."""
        flops = kv_bytes = 0
        for inputs, questions in self._alike:
            with method(self.vlm.model) as session, FlopCount() as count:
                self.vlm.model(**inputs, use_cache=True, logits_to_keep=1)
            held = session.trace.kv_bytes
            assert held is not None
            flops += questions * count.total
            kv_bytes += questions * int(held.sum())
        return flops, kv_bytes

    @torch.inference_mode()
    def updates(self) -> tuple[float, ...]:
        """Median FFN update of visual tokens by layer, in the dense model."""
        updates = []
        for one in self.asked:
            with Dense()(self.vlm.model, record=True) as session:
                self.vlm.model(**one.inputs, logits_to_keep=1)
            recorded = session.trace.ffn_update
            assert recorded is not None
            updates.append(recorded[:, session.trace.token_slot])
        return tuple(torch.cat(updates, dim=1).float().median(dim=1).values.tolist())


def _skipping_of(method: Method) -> SkipVision | None:
    """The part of a method that skips sub-layers."""
    skips = method.skipping if isinstance(method, Combined) else method
    return skips if isinstance(skips, SkipVision) else None
