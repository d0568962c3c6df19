"""One method's runs on one prompt: the recorded one, the timed ones, the watched one, and what they measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from profiling.clock import AnswerTiming, VisionClock
from profiling.events import NewText
from profiling.gpu.meter import GpuMeter
from profiling.gpu.samples import GpuSample, watch
from profiling.predict.kv import predict_layer_kv_bytes
from profiling.predict.prefill_flops import predict_prefill_flops
from profiling.predict.work import decode_work, prefill_work
from profiling.report import Arm, Spread
from skipcore import AnswerToken, Method, Trace, Vlm
from skipcore.answering.generate import generate
from skipcore.flops import FlopCount
from skipcore.model.hardware import devices_of


@dataclass
class ArmRuns:
    """One method's runs on one prompt, and what they measured so far.

    Attributes:
        vision: the pictures as the method sees them, encoded on the clock.
        limits: `max_new_tokens`, `ignore_eos` and `stop` of `generate`.
        milliseconds: that its runs took so far, the recorded one included.
        runs: tokens of every timed run, the one under way included.
    """

    vlm: Vlm
    method: Method
    name: str
    vision: VisionClock
    limits: dict[str, Any]
    milliseconds: float = 0.0
    flops: int = 0
    runs: list[list[AnswerToken]] = field(default_factory=list)
    trace: Trace = field(init=False)
    meter: GpuMeter = field(init=False)
    samples: tuple[GpuSample, ...] | None = None
    samples_unavailable: str | None = None

    def __post_init__(self) -> None:
        self.meter = GpuMeter(devices_of(self.vlm.model))

    @property
    def inputs(self) -> dict[str, Any]:
        """The model's keyword arguments, pictures encoded."""
        return self.vision.inputs

    def record(self) -> None:
        """Record trace and FLOPs in a run of its own, then decode to warm up. On a GPU as many as the timed runs will
        take, since kernels are chosen and loaded for each new length; elsewhere two."""
        limits = self.limits | ({} if self.vlm.device.type == "cuda" else {"max_new_tokens": 3, "ignore_eos": True})
        session = self.method(self.vlm.model, record=True)
        with closing(generate(self.vlm, self.inputs, session, **limits)) as tokens:
            with FlopCount() as count:
                first = next(tokens, None)
            if first is None:  # stopped
                return
            self.flops, self.trace = count.total, session.trace
            self.milliseconds += first.seconds * 1000
            for token in tokens:
                self.milliseconds += token.seconds * 1000

    def timed_run(self) -> Iterator[AnswerToken]:
        """Run and record nothing but the clock (and the GPU's own counters, around it)."""
        self.runs.append([])
        tokens = generate(self.vlm, self.inputs, self.method(self.vlm.model), **self.limits)
        with closing(tokens), self.meter.run(energy=len(self.runs) > 1):  # tokens of the first are shown meanwhile
            for token in tokens:
                self.runs[-1].append(token)
                self.milliseconds += token.seconds * 1000
                yield token

    def watch(self) -> None:
        """Watch the GPU over a run that no time is taken of; no run where there is no GPU to watch."""

        def run() -> None:
            for _ in generate(self.vlm, self.inputs, self.method(self.vlm.model), **self.limits):
                pass

        self.samples, self.samples_unavailable = watch(devices_of(self.vlm.model), run)

    def new_text(self, number: int, token: AnswerToken) -> NewText:
        """Return the event of a token of the run that is under way; `number` is the arm's."""
        timing = AnswerTiming.of(self.runs[-1])
        return NewText(number, token.text, len(self.runs[-1]), timing.prefill_ms, timing.tpot_ms)

    def measured(self) -> Arm:
        """Sum up what all runs measured."""
        first, vision_ms = self.runs[0], self.vision.measured
        timings = [AnswerTiming.of(run) for run in self.runs]
        prefill = [timing.prefill_ms for timing in timings]
        ttft = [vision + first for vision in vision_ms for first in prefill]
        tpot = [timing.tpot_ms for timing in timings if timing.tpot_ms is not None]
        times = {"vision_ms": vision_ms, "prefill_ms": prefill, "tpot_ms": tpot}
        spread = {name: Spread.of(each) for name, each in times.items() if each}
        trace = self.trace
        assert trace.kv_tokens is not None and trace.kv_bytes is not None  # `generate` always uses a cache
        predicted = predict_layer_kv_bytes(self.vlm, trace)
        return Arm(
            name=self.name,
            settings=self.method.settings(),
            answer="".join(token.text for token in first).strip(),
            new_tokens=len(first),
            vision_ms=median(vision_ms),
            prefill_ms=median(prefill),
            ttft_ms=median(ttft),
            tpot_ms=median(tpot) if tpot else None,
            decode_tokens_per_s=1000 / median(tpot) if tpot else None,
            token_ms=timings[0].token_ms,
            kv_tokens=float(trace.kv_tokens.double().mean()),
            kv_bytes=int(trace.kv_bytes.sum()),
            kv_bytes_predicted=sum(predicted),
            layer_kv_bytes=tuple(trace.kv_bytes.tolist()),
            layer_kv_bytes_predicted=predicted,
            flops_prefill=self.flops,
            flops_prefill_predicted=predict_prefill_flops(self.vlm, self.method, trace).total,
            peak_memory_bytes=self.meter.peak_memory_bytes,
            energy_j=self.meter.energy_per_run_j,
            spread=spread | {"ttft_ms": Spread.of(ttft, len(prefill))},
            trace=trace,
            run_token_ms=tuple(timing.token_ms for timing in timings),
            prefill_work=prefill_work(self.vlm, trace, self.flops),
            decode_work=decode_work(self.vlm, trace, len(first)) if tpot else None,
            gpu_samples=self.samples,
            vision_is_warm=self.vision.is_warm,
        )
