"""For a method and a share of the dense prefill FLOPs, the settings that reach it, found by bisection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from profiling.race.tuning import Tuning
from skipcore import METHODS, Dense, InputError, Method, SkipVision
from skipcore.methods.baselines import RandomTokens, UniformGrid
from skipcore.methods.dart import DART
from skipcore.methods.div_prune import DivPrune
from skipcore.methods.downsampled import Downsampled
from skipcore.methods.dropping import DropInStages, DropOnce
from skipcore.methods.dymu import DyMU
from skipcore.methods.fastv import FastV
from skipcore.methods.pyramid_drop import PyramidDrop
from skipcore.methods.settings import Count, resolve
from skipcore.methods.shortv import ShortV
from skipcore.methods.spider import SPIDER
from skipcore.methods.v2drop import V2Drop
from skipcore.methods.vision_zip import VisionZip
from skipcore.methods.vtw import VTW

TOLERANCE = 0.02
"""How far from a budget the FLOPs of a method may lie for it to count as equal: 2 points."""

BASELINES = ("Dense", "RandomTokens", "UniformGrid", "Downsampled")
"""In every race, whatever else is asked for."""


@dataclass(frozen=True)
class Room:
    """What settings are chosen for.

    Attributes:
        tokens: visual tokens of a picture.
        is_fixed: whether every picture has so many; settings are then counts of tokens, and shares otherwise.
        layers: of the decoder.
        own: how the model skips when left alone; its counts are scaled, all else stays.
        tuning: what methods learn from pictures before they run.
    """

    tokens: int
    is_fixed: bool
    layers: int
    own: SkipVision
    tuning: Tuning

    def count(self, tokens: int) -> Count:
        """So many tokens of a picture as a setting; all of them are the share 1.0."""
        return tokens if self.is_fixed and tokens < self.tokens else tokens / self.tokens


@dataclass(frozen=True)
class Knob:
    """The one setting by which a method spends its budget.

    Attributes:
        steps: its positions are 0 … steps; FLOPs never fall from one to the next.
        at: the method with the knob in a position.
    """

    steps: int
    at: Callable[[int], Method]


@dataclass(frozen=True)
class Choice:
    """A method as it enters the race.

    Attributes:
        method: with its settings.
        budget: share of the dense prefill FLOPs wanted; None for the dense model.
        flops: the share reached.
    """

    method: Method
    budget: float | None
    flops: float


def choose(kind: str, budget: float, room: Room, flops: Callable[[Method], float]) -> Choice:
    """The settings of a method that come nearest to a budget from below, or within the tolerance from above.

    Args:
        kind: a name in `METHODS`.
        budget: share of the dense prefill FLOPs, between 0 and 1.
        flops: the share that a method takes.

    Returns:
        The first knob's best position if it is within the tolerance, or else the next knob's; where none is, the
        nearest from below, and where even the least is too much, the least.

    Raises:
        InputError: it is not known how the method spends a budget.
    """
    found: list[Choice] = []
    for knob in knobs(kind, room):
        position = _last_within(knob, budget, flops)
        for number in (position, position + 1):
            if 0 <= number <= knob.steps:
                method = knob.at(number)
                found.append(Choice(method, budget, flops(method)))
                if is_near(found[-1].flops, budget):
                    return found[-1]
    below = [choice for choice in found if choice.flops <= budget]
    return max(below, key=lambda each: each.flops) if below else min(found, key=lambda each: each.flops)


def is_near(flops: float, budget: float) -> bool:
    """Whether a share of the FLOPs counts as equal to a budget."""
    return abs(flops - budget) <= TOLERANCE + 1e-9


def _last_within(knob: Knob, budget: float, flops: Callable[[Method], float]) -> int:
    """The last position that takes at most the budget; −1 if none does."""
    low, high = -1, knob.steps
    while low < high:
        middle = (low + high + 1) // 2
        if flops(knob.at(middle)) <= budget:
            low = middle
        else:
            high = middle - 1
    return low


def knobs(kind: str, room: Room) -> Sequence[Knob]:
    """A method's knobs, the authors' way first.

    Raises:
        InputError: the method is unknown, or it is not known how it spends a budget.
    """
    if kind not in METHODS or METHODS[kind] is Dense:
        raise InputError(f"There is no method {kind!r} with a budget: take some of {', '.join(METHODS)}.")
    method = METHODS[kind]
    if method not in KNOBS:
        raise InputError(f"It is not known how {kind} spends a budget: leave it out, or add it to KNOBS in {__name__}.")
    return KNOBS[method](room)


def _tokens(kind: type[Method]) -> Callable[[Room], list[Knob]]:
    """The tokens kept before the decoder."""

    def made(room: Room) -> list[Knob]:
        return [Knob(room.tokens - 1, lambda step: kind(num_kept=room.count(step + 1)))]  # type: ignore[call-arg]

    return made


def _tokens_from_layer(kind: type[DropOnce], authors: float) -> Callable[[Room], list[Knob]]:
    """The tokens kept from the authors' layer on; then from ever earlier ones.

    Args:
        authors: their layer, as a share of the depth.
    """

    def knob(room: Room, layer: int) -> Knob:
        return Knob(room.tokens - 1, lambda step: kind(layer=layer, num_kept=room.count(step + 1)))

    def made(room: Room) -> list[Knob]:
        return [knob(room, layer) for layer in range(max(1, round(authors * room.layers)), 0, -1)]

    return made


def _tokens_in_stages(kind: type[DropInStages]) -> Callable[[Room], list[Knob]]:
    """The tokens kept in the authors' stages, in their proportions: those of the first stage grow by one a step, and
    none grows beyond all tokens."""

    def made(room: Room) -> list[Knob]:
        authors = kind()
        shares = [resolve(count, room.tokens) / room.tokens for count in authors.num_kept]

        def at(step: int) -> Method:
            kept = [round((step + 1) * share / max(shares)) for share in shares]
            return replace(authors, num_kept=[room.count(min(room.tokens, max(1, count))) for count in kept])

        return [Knob(round(room.tokens * max(shares) / min(shares)) - 1, at)]

    return made


def _retained_and_skipped(room: Room) -> list[Knob]:
    """Retained and skipped tokens in the proportion of the model's own method until nothing is merged; beyond that,
    retained ones in the place of skipped ones."""
    retained, skipped = (resolve(count, room.tokens) for count in (room.own.num_retained, room.own.num_skipped))
    share = retained / max(1, retained + skipped)
    unmerged = round(share * room.tokens)

    def at(step: int) -> Method:
        tokens = step + 1
        kept = round(share * tokens) if tokens <= room.tokens else unmerged + tokens - room.tokens
        kept = min(kept, tokens - 1)
        return replace(room.own, num_retained=room.count(kept), num_skipped=room.count(min(tokens, room.tokens) - kept))

    return [Knob(2 * room.tokens - unmerged - 2, at)]


def _dominant_and_contextual(room: Room) -> list[Knob]:
    """Dominant and contextual tokens in the authors' proportion."""
    authors = VisionZip()
    share = authors.num_contextual / (authors.num_dominant + authors.num_contextual)

    def at(step: int) -> Method:
        contextual = round(share * (step + 1))
        return VisionZip(room.count(step + 1 - contextual), room.count(contextual))

    return [Knob(room.tokens - 1, at)]


def _thresholds(room: Room) -> list[Knob]:
    """The share of the patches that is to be left, in steps of a 64th."""
    return [Knob(62, lambda step: room.tuning.dymu((step + 1) / 64))]


KNOBS: Mapping[type[Method], Callable[[Room], list[Knob]]] = {
    SkipVision: _retained_and_skipped,
    FastV: _tokens_from_layer(FastV, 3 / 32),
    DART: _tokens_from_layer(DART, 2 / 32),
    PyramidDrop: _tokens_in_stages(PyramidDrop),
    V2Drop: _tokens_in_stages(V2Drop),
    VisionZip: _dominant_and_contextual,
    DivPrune: _tokens(DivPrune),
    SPIDER: lambda room: [
        Knob(room.tokens - 1, lambda step: replace(room.tuning.spider, num_kept=room.count(step + 1)))
    ],
    DyMU: _thresholds,
    Downsampled: lambda room: [
        Knob(room.tokens - 1, lambda step: Downsampled((step + 1) / room.tokens))  # a count says nothing of pixels
    ],
    RandomTokens: _tokens(RandomTokens),
    UniformGrid: _tokens(UniformGrid),
    ShortV: lambda room: [Knob(room.layers, lambda step: ShortV(room.layers - step, room.tuning.layers))],
    VTW: lambda room: [Knob(room.layers, lambda step: VTW(layer=step if step < room.layers else 1.0))],
}
"""How each method spends a budget; a new method is one entry."""
