"""The heart of the profiler: one question under several methods, fairly.

The picture is encoded once and all arms share its features and the weights; a method that looks at the vision tower,
or changes the picture, has an encoding of its own, whose time it bears. Each arm first has a run of its own that
records the trace and counts FLOPs; it warms the arm up too. The timed runs that follow record nothing else and are
interleaved. Answers and token times come from an arm's first timed run, figures from the median of all.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from statistics import median
from typing import Any

from profiling.cost import predict_prefill_flops
from profiling.events import Encoding, Event, NewText, Progress, Started, Traced
from profiling.gpu import GpuMeter
from profiling.gpu_samples import GpuSample, watch
from profiling.hardware import device_facts, versions
from profiling.kv import predict_layer_kv_bytes
from profiling.phases import AnswerTiming, fair_order, time_vision
from profiling.report import AnswerAgreement, Arm, Report, Spread, savings_of
from profiling.roofs import roof_of
from profiling.work import decode_work, prefill_work
from skipcore import AnswerToken, Dense, InputError, Method, Trace, Vlm
from skipcore.agreement import Agreement, log_probs_along
from skipcore.answer import check_max_new_tokens, generate
from skipcore.flops import FlopCount
from skipcore.inputs import ImageLike
from skipcore.stopping import stops
from skipcore.vlm import Prepared

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
    """`compare` that tells what happens while it runs; the `Report` comes last.

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
    with vlm.lock, same_attention(vlm), stops(vlm.model, stop):
        features = vlm.encode(prepared)
        yield Encoding()
        vision_ms = time_vision(vlm, prepared, repeats)
        shared = prepared.with_features(features), vision_ms
        runs = []
        for method, name in zip(methods, _names(methods), strict=True):
            own = shared
            if not method.shares_features:
                shown = vlm.prepare(image, question, max_new_tokens, method=method)
                features = vlm.encode(shown, method)
                own = shown.with_features(features), time_vision(vlm, shown, repeats, method)
            runs.append(_ArmRuns(vlm, method, name, *own))
        yield Started(
            tuple(arm.name for arm in runs),
            tuple(prepared.pictures),
            tuple(map(tuple, prepared.tiles)),
            median(vision_ms),
        )
        for number, arm in enumerate(runs):
            if stop.is_set():
                return
            arm.record()
            yield Traced(number, arm.trace)
        for round_number, number in fair_order(len(runs), repeats):
            yield Progress(number, round_number + 1, repeats)
            for token in runs[number].timed_run(max_new_tokens, fixed_length, stop):
                if round_number == 0:
                    yield _new_text(number, token, runs[number])
            if stop.is_set():
                return
        for arm in runs:
            arm.watch(max_new_tokens, fixed_length, stop)
        if stop.is_set():
            return
        agreement = _agreement(vlm, runs)
        yield _report(vlm, question, prepared, runs, agreement, max_new_tokens, repeats)


@contextmanager
def same_attention(vlm: Vlm) -> Iterator[None]:
    """Inside, dense runs attend by sdpa, as skipping does: otherwise kernels would be compared, not methods."""
    config = vlm.model.get_decoder().config
    own = config._attn_implementation
    config._attn_implementation = "sdpa"
    try:
        yield
    finally:
        config._attn_implementation = own


@dataclass
class _ArmRuns:
    """One method's runs on one prompt, and what they measured so far."""

    vlm: Vlm
    method: Method
    name: str
    inputs: dict[str, Any]
    vision_ms: list[float]
    flops: int = 0
    timings: list[AnswerTiming] = field(default_factory=list)
    current: list[AnswerToken] = field(default_factory=list)
    first: list[AnswerToken] = field(default_factory=list)
    first_run: bool = True
    trace: Trace = field(init=False)
    meter: GpuMeter = field(init=False)
    samples: tuple[GpuSample, ...] | None = None
    samples_unavailable: str | None = None

    def __post_init__(self) -> None:
        self.meter = GpuMeter(self.vlm.device)

    def record(self) -> None:
        """The run of its own: trace, FLOPs; two decode steps beyond, to warm up."""
        session = self.method(self.vlm.model, record=True)
        with closing(generate(self.vlm, self.inputs, session, max_new_tokens=3, ignore_eos=True)) as tokens:
            with FlopCount() as count:
                next(tokens)
            self.flops, self.trace = count.total, session.trace
            for _ in tokens:
                pass

    def timed_run(self, max_new_tokens: int, fixed_length: bool, stop: threading.Event) -> Iterator[AnswerToken]:
        """A run that records nothing but the clock (and the GPU's own counters, around it)."""
        self.current = []
        self.first_run = not self.timings  # its tokens are shown while it runs
        session = self.method(self.vlm.model)
        tokens = generate(self.vlm, self.inputs, session, max_new_tokens, stop=stop, ignore_eos=fixed_length)
        with closing(tokens), self.meter.run(energy=not self.first_run):
            for token in tokens:
                self.current.append(token)
                yield token
        if not stop.is_set():
            self.timings.append(AnswerTiming.of(self.current))
            self.first = self.first or self.current

    def watch(self, max_new_tokens: int, fixed_length: bool, stop: threading.Event) -> None:
        """A run that is watched and in no time; none where there is no GPU to watch."""

        def run() -> None:
            session = self.method(self.vlm.model)
            tokens = generate(self.vlm, self.inputs, session, max_new_tokens, stop=stop, ignore_eos=fixed_length)
            with closing(tokens):
                for _ in tokens:
                    pass

        self.samples, self.samples_unavailable = watch(self.vlm.device, run)


def _new_text(number: int, token: AnswerToken, arm: _ArmRuns) -> NewText:
    timing = AnswerTiming.of(arm.current)
    return NewText(number, token.text, len(arm.current), timing.prefill_ms, timing.tpot_ms)


def _names(methods: Sequence[Method]) -> list[str]:
    """The methods' labels, numbered where two are the same."""
    labels = [method.label for method in methods]
    return [
        label if labels.count(label) == 1 else f"{label} ({labels[: index + 1].count(label)})"
        for index, label in enumerate(labels)
    ]


def _agreement(vlm: Vlm, runs: Sequence[_ArmRuns]) -> dict[str, AnswerAgreement]:
    """How every arm agrees with the first one, from runs of their own."""
    first = runs[0]
    answer = [token.id for token in first.first]
    expected = log_probs_along(vlm, first.inputs, first.method, answer) if runs[1:] else None
    found = {}
    for arm in runs[1:]:
        assert expected is not None
        agreement = Agreement.between(expected, log_probs_along(vlm, arm.inputs, arm.method, answer))
        difference = _first_difference(answer, [token.id for token in arm.first])
        found[arm.name] = AnswerAgreement(agreement.kl, agreement.top1, len(answer), difference)
    return found


def _first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """Number, from 1, of the first token in which two answers differ; None where they are the same."""
    pairs = enumerate(zip_longest(one, other), start=1)
    return next((number for number, (a, b) in pairs if a != b), None)


def _report(
    vlm: Vlm,
    question: str,
    prepared: Prepared,
    runs: Sequence[_ArmRuns],
    agreement: dict[str, AnswerAgreement],
    max_new_tokens: int,
    repeats: int,
) -> Report:
    arms = tuple(_arm(vlm, arm) for arm in runs)
    reasons = {
        "peak_memory_bytes": [arm.meter.memory_unavailable for arm in runs],
        "energy_j": [arm.meter.energy_unavailable for arm in runs],
        "gpu_samples": [arm.samples_unavailable for arm in runs],
    }
    roof, no_roof = roof_of(vlm.device, vlm.model.dtype)
    reasons["roof"] = [no_roof]
    return Report(
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
        agreement=agreement,
        unavailable={name: reason for name, of_arms in reasons.items() for reason in of_arms if reason is not None},
        pictures=tuple(prepared.pictures),
        roof=roof,
    )


def _arm(vlm: Vlm, runs: _ArmRuns) -> Arm:
    vision_ms = runs.vision_ms
    prefill = [timing.prefill_ms for timing in runs.timings]
    # Every run of the answer is paired with a run of the vision tower.
    ttft = [vision + first for vision, first in zip(vision_ms, prefill, strict=True)]
    tpot = [timing.tpot_ms for timing in runs.timings if timing.tpot_ms is not None]
    spread = {"vision_ms": vision_ms, "prefill_ms": prefill, "ttft_ms": ttft, "tpot_ms": tpot}
    trace = runs.trace
    assert trace.kv_tokens is not None and trace.kv_bytes is not None  # `generate` always uses a cache
    predicted = predict_layer_kv_bytes(vlm, trace)
    return Arm(
        name=runs.name,
        settings=runs.method.settings(),
        answer="".join(token.text for token in runs.first).strip(),
        new_tokens=len(runs.first),
        vision_ms=median(vision_ms),
        prefill_ms=median(prefill),
        ttft_ms=median(ttft),
        tpot_ms=median(tpot) if tpot else None,
        decode_tokens_per_s=1000 / median(tpot) if tpot else None,
        token_ms=runs.timings[0].token_ms,
        kv_tokens=float(trace.kv_tokens.double().mean()),
        kv_bytes=int(trace.kv_bytes.sum()),
        kv_bytes_predicted=sum(predicted),
        layer_kv_bytes=tuple(trace.kv_bytes.tolist()),
        layer_kv_bytes_predicted=predicted,
        flops_prefill=runs.flops,
        flops_prefill_predicted=predict_prefill_flops(vlm, runs.method, trace).total,
        peak_memory_bytes=runs.meter.peak_memory_bytes,
        energy_j=runs.meter.energy_per_run_j,
        spread={name: Spread.of(times) for name, times in spread.items() if times},
        trace=trace,
        run_token_ms=tuple(timing.token_ms for timing in runs.timings),
        prefill_work=prefill_work(vlm, trace, runs.flops),
        decode_work=decode_work(vlm, trace, len(runs.first)) if tpot else None,
        gpu_samples=runs.samples,
    )
