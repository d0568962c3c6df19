"""Compare methods on one question, fairly: the one way in which page, API and command line measure.

The picture is encoded once and all arms share its features and the weights; a method that records the vision tower, or
changes the picture, has an encoding of its own, whose time it bears. For the clock alone it is encoded again before
every round of the timed runs, as long as that takes no more than a fifth of the whole. Each arm first has a run of its
own that records the trace and counts FLOPs; it warms the arm up too. The timed runs that follow record nothing else and
are interleaved. Answers and token times come from an arm's first timed run, figures from the median of all.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from statistics import median

from profiling.arms import ArmRuns
from profiling.clock import VISION_SHARE, VisionClock, fair_order, may_encode_again
from profiling.events import Encoding, Event, Progress, Started, Traced
from profiling.machine import device_facts
from profiling.predict.roofs import roof_of
from profiling.report import AnswerAgreement, Arm, Report, savings_of
from skipcore import Dense, InputError, Method, Vlm
from skipcore.answering.agreement import Agreement, log_probs_along
from skipcore.answering.decoding import describe, end_tokens, until_end
from skipcore.answering.generate import check_max_new_tokens
from skipcore.engine.stopping import stops
from skipcore.model.hardware import devices_of, versions
from skipcore.model.inputs import ImageLike

MAX_REPEATS = 100


def compare(
    vlm: Vlm,
    image: ImageLike,
    question: str,
    methods: Sequence[Method] | None = None,
    max_new_tokens: int = 64,
    repeats: int = 1,
    *,
    fixed_length: bool = False,
) -> Report:
    """Ask the same question under several methods and measure them. See `stream` for the arguments."""
    *_, report = stream(vlm, image, question, methods, max_new_tokens, repeats, fixed_length=fixed_length)
    assert isinstance(report, Report)
    return report


def stream(
    vlm: Vlm,
    image: ImageLike,
    question: str,
    methods: Sequence[Method] | None = None,
    max_new_tokens: int = 64,
    repeats: int = 1,
    *,
    fixed_length: bool = False,
    stop: threading.Event | None = None,
) -> Generator[Event | Report, None, None]:
    """Compare as `compare` does, and yield what happens meanwhile; the `Report` comes last.

    Args:
        vlm: from `skipcore.load`; locked while this runs.
        image: path, bytes, PIL image or array.
        question: text.
        methods: the arms; the first is what the others are compared with. Default: `Dense()` and the model's
            `skipping`.
        max_new_tokens: longest answer, at least 1.
        repeats: timed runs per arm, 1–100.
        fixed_length: go on to `max_new_tokens` in every arm whatever the model says, so that decode times compare.
        stop: set it from anywhere to end before the next layer, without a report.

    Raises:
        InputError: bad picture, question or setting.
    """
    methods = [Dense(), vlm.skipping] if methods is None else methods
    check_max_new_tokens(max_new_tokens)
    if not isinstance(methods, Sequence) or not methods or not all(isinstance(each, Method) for each in methods):
        raise InputError("methods must be a list of at least one method, such as [Dense(), SkipVision()].")
    if isinstance(repeats, bool) or not isinstance(repeats, int) or not 1 <= repeats <= MAX_REPEATS:
        raise InputError(f"repeats must be a whole number from 1 to {MAX_REPEATS}, not {repeats!r}.")
    prepared = vlm.prepare(image, question, max_new_tokens)
    stop = stop or threading.Event()
    limits = {"max_new_tokens": max_new_tokens, "ignore_eos": fixed_length, "stop": stop}
    with vlm.lock, same_attention(vlm), stops(vlm.model, stop):
        yield Encoding()
        shared = VisionClock(vlm, prepared)
        clocks, runs = [shared], []
        for method, name in zip(methods, _names(methods), strict=True):
            if not method.shares_features:
                shown = vlm.prepare(image, question, max_new_tokens, method=method)
                clocks.append(VisionClock(vlm, shown, method))
            runs.append(ArmRuns(vlm, method, name, shared if method.shares_features else clocks[-1], limits))
        yield Started(
            tuple(arm.name for arm in runs),
            tuple(prepared.pictures),
            tuple(map(tuple, prepared.tiles)),
            shared.times[0],
        )
        for number, arm in enumerate(runs):
            arm.record()
            if stop.is_set():
                return
            yield Traced(number, arm.trace)
        for done, (round_number, number) in enumerate(fair_order(len(runs), repeats)):
            if done % len(runs) == 0:  # before every round, so that what drifts affects vision and arms alike
                left = len(runs) * repeats - done
                if may_encode_again(clocks, sum(arm.milliseconds for arm in runs), len(runs) + done, left):
                    for clock in clocks:
                        clock.encode()
            yield Progress(number, round_number + 1, repeats, median(shared.measured))
            for token in runs[number].timed_run():
                if round_number == 0:
                    yield runs[number].new_text(number, token)
            if stop.is_set():
                return
        for arm in runs:
            arm.watch()
        if stop.is_set():
            return
        roof, no_roof = roof_of(devices_of(vlm.model), vlm.model.dtype)
        arms = tuple(arm.measured() for arm in runs)
        yield Report(
            device=device_facts(vlm),
            versions=versions(),
            model=vlm.name,
            question=question.strip(),
            max_new_tokens=max_new_tokens,
            repeats=repeats,
            warmup_runs=1,
            tiles=tuple(map(tuple, prepared.tiles)),
            prompt_tokens=prepared.num_tokens,
            arms=arms,
            savings={arm.name: savings_of(arm, arms[0]) for arm in arms[1:]},
            agreement=_agreement(vlm, runs),
            unavailable=_unavailable(runs) | ({"roof": no_roof} if no_roof is not None else {}),
            pictures=tuple(prepared.pictures),
            roof=roof,
            notes=_vision_notes(shared, repeats) + _cache_notes(arms),
            decoding=describe(vlm),
            reason=vlm.skipping_reason if vlm.skipping in methods else "",
        )


@contextmanager
def same_attention(vlm: Vlm) -> Iterator[None]:
    """Let dense runs attend by sdpa meanwhile, as skipping does: otherwise kernels would be compared, not methods."""
    config = vlm.model.get_decoder().config
    own = config._attn_implementation
    config._attn_implementation = "sdpa"
    try:
        yield
    finally:
        config._attn_implementation = own


def _names(methods: Sequence[Method]) -> list[str]:
    """List the methods' labels, numbered where two are the same."""
    labels = [method.label for method in methods]
    return [
        label if labels.count(label) == 1 else f"{label} ({labels[: index + 1].count(label)})"
        for index, label in enumerate(labels)
    ]


def _agreement(vlm: Vlm, runs: Sequence[ArmRuns]) -> dict[str, AnswerAgreement]:
    """Measure how far every arm agrees with the first one up to the end of its answer, in runs of their own."""
    first, ends = runs[0], end_tokens(vlm)
    answer = until_end([token.id for token in first.runs[0]], ends)
    expected = log_probs_along(vlm, first.inputs, first.method, answer) if runs[1:] else None
    found = {}
    for arm in runs[1:]:
        assert expected is not None
        agreement = Agreement.between(expected, log_probs_along(vlm, arm.inputs, arm.method, answer))
        difference = _first_difference(answer, until_end([token.id for token in arm.runs[0]], ends))
        found[arm.name] = AnswerAgreement(agreement.kl, agreement.top1, len(answer), difference)
    return found


def _first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """Find the number, from 1, of the first token in which two answers differ; None where they are the same."""
    pairs = enumerate(zip_longest(one, other), start=1)
    return next((number for number, (a, b) in pairs if a != b), None)


def _vision_notes(clock: VisionClock, repeats: int) -> tuple[str, ...]:
    """Say so where there are fewer times of the vision tower than of the rest."""
    share = f"more would take over {VISION_SHARE:.0%} of the run."
    if not clock.is_warm:
        return (f"The picture was encoded once, on the clock and without a warm-up: {share}",)
    if (count := len(clock.measured)) < repeats:
        often = "once" if count == 1 else f"{count} times"
        return (f"The picture was encoded {often} on the clock, after a warm-up: {share}",)
    return ()


def _cache_notes(arms: Sequence[Arm]) -> tuple[str, ...]:
    """Say so where a cache holds more after prefill than it keeps, as that of layers with a window does for long
    prompts."""
    return tuple(
        f"The KV cache of {arm.name} is measured right after prefill, when it still holds what its layers with a "
        f"window give up with the next token: {arm.kv_bytes_predicted:,} B of its {arm.kv_bytes:,} B stay."
        for arm in arms
        if arm.kv_bytes > arm.kv_bytes_predicted
    )


def _unavailable(runs: Sequence[ArmRuns]) -> dict[str, str]:
    """Give the reason for each figure that an arm lacks."""
    reasons = {
        "peak_memory_bytes": [arm.meter.memory_unavailable for arm in runs],
        "energy_j": [arm.meter.energy_unavailable for arm in runs],
        "gpu_samples": [arm.samples_unavailable for arm in runs],
    }
    return {name: reason for name, of_arms in reasons.items() for reason in of_arms if reason is not None}
