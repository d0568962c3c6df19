"""The comparison: fair, complete, and the same on every way in."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from shared_models import methods_for, noise_picture
from tiny_families import tiny_model

from profiling import Report, compare, stream
from profiling import arms as arm_runs
from profiling import clock as phases
from profiling.arms import ArmRuns
from profiling.clock import AnswerTiming, VisionClock, fair_order
from profiling.compare import _first_difference
from profiling.events import Encoding, NewText, Progress, Started, Traced
from skipcore import AnswerToken, Dense, InputError, Session, SkipVision, Vlm, answer, ask, load
from skipcore.answering.generate import generate

METHODS = [Dense(), SkipVision(0.2, 0.3)]


def test_events_in_order(tiny: Vlm, picture) -> None:
    events = list(stream(tiny, picture, "what?", METHODS, max_new_tokens=4, repeats=2))
    kinds = [type(event) for event in events]
    assert kinds[:4] == [Encoding, Started, Traced, Traced]
    assert kinds[-1] is Report and kinds.count(Report) == 1
    runs = [(event.run, event.arm) for event in events if isinstance(event, Progress)]
    assert runs == [(1, 0), (1, 1), (2, 1), (2, 0)]
    report = events[-1]
    for number, arm in enumerate(report.arms):
        text = [event for event in events if isinstance(event, NewText) and event.arm == number]
        assert "".join(event.text for event in text).strip() == arm.answer
        assert len(text) == arm.new_tokens == len(arm.token_ms)


@pytest.mark.parametrize("name", ["masked", "authors", "text sees skipped"])
def test_answers_are_those_of_the_library(vlm: Vlm, picture, name: str) -> None:
    method = methods_for(vlm)[name]
    report = compare(vlm, picture, "what?", [Dense(), method], max_new_tokens=8)
    assert [arm.answer for arm in report.arms] == [ask(vlm, picture, "what?", m, 8) for m in (Dense(), method)]


def test_arms_share_the_features_and_record_apart_from_the_clock(tiny: Vlm, picture, monkeypatch) -> None:
    """Law 8: one set of features, records and FLOPs in runs of their own, timed runs under no torch mode."""
    encoded, recorded, modes = [], [], []
    prefill, init = tiny.model.forward, Session.__init__

    def forward(*args, **kwargs):
        if "mm_encoder_outputs" in kwargs:
            encoded.append(id(kwargs["mm_encoder_outputs"]["image"]))
            modes.append(torch._C._len_torch_dispatch_stack())
        return prefill(*args, **kwargs)

    def session(self, method, model, record=False):
        recorded.append(record)
        init(self, method, model, record)

    monkeypatch.setattr(tiny.model, "forward", forward)
    monkeypatch.setattr(Session, "__init__", session)
    compare(tiny, picture, "what?", METHODS, max_new_tokens=2, repeats=3)
    assert len(set(encoded)) == 1 and len(encoded) == 10
    assert recorded == [True] * 2 + [False] * 8  # six timed runs, and two that compare the distributions
    assert [mode > 0 for mode in modes] == recorded


def test_figures_are_medians_with_their_spread(tiny: Vlm, picture) -> None:
    report = compare(tiny, picture, "what?", METHODS, max_new_tokens=3, repeats=4, fixed_length=True)
    assert report.repeats == 4 and report.warmup_runs == 1
    for arm in report.arms:
        assert arm.new_tokens == 3
        for name in ("vision_ms", "prefill_ms", "ttft_ms", "tpot_ms"):
            spread = arm.spread[name]
            assert spread.runs == 4 or (name == "vision_ms" and 1 <= spread.runs <= 4)
            assert spread.p50 == pytest.approx(getattr(arm, name))
            assert spread.min <= spread.p50 <= spread.p90 <= spread.max
        assert arm.decode_tokens_per_s == pytest.approx(1000 / arm.tpot_ms)


def test_json_is_plain_and_complete(tiny: Vlm, picture) -> None:
    report = compare(tiny, picture, "what?", [*METHODS, SkipVision(0.2, 0.3)], max_new_tokens=1)
    values = json.loads(json.dumps(report.to_dict()))
    assert values["image_grid"] == [[8, 8]]
    assert {"device", "versions", "model", "arms", "savings"} <= values.keys()
    wanted = {
        "name", "settings", "answer", "new_tokens", "vision_ms", "prefill_ms", "ttft_ms", "tpot_ms",
        "decode_tokens_per_s", "kv_tokens", "kv_bytes", "kv_bytes_predicted", "flops_prefill",
        "flops_prefill_predicted", "peak_memory_bytes", "energy_j", "spread",
    }  # fmt: skip
    assert all(wanted <= arm.keys() for arm in values["arms"])
    names = [arm["name"] for arm in values["arms"]]
    assert len(set(names)) == 3 and list(values["savings"]) == names[1:]


def test_none_is_not_zero(tiny: Vlm, picture) -> None:
    """Law 9: on the CPU there is no memory or energy figure, and the report says why; one token has no TPOT."""
    report = compare(tiny, picture, "what?", METHODS, max_new_tokens=1)
    for arm in report.arms:
        assert arm.peak_memory_bytes is None and arm.energy_j is None
        assert arm.tpot_ms is None and arm.decode_tokens_per_s is None and "tpot_ms" not in arm.spread
    assert set(report.unavailable) == {"peak_memory_bytes", "energy_j", "gpu_samples"}
    saved = report.savings[report.arms[1].name]
    assert saved.tpot is None and saved.energy is None and saved.peak_memory is None
    same = compare(tiny, picture, "what?", [Dense(), Dense()], max_new_tokens=1)
    assert same.savings["Dense (2)"].flops_turned_into_time is None


def test_stopping_frees_the_model(tiny: Vlm, picture) -> None:
    stop = threading.Event()
    events = []
    for event in stream(tiny, picture, "what?", METHODS, max_new_tokens=50, stop=stop):
        events.append(event)
        if isinstance(event, NewText):
            stop.set()
    assert not any(isinstance(event, Report) for event in events)
    assert not tiny.lock.locked()
    leaving = stream(tiny, picture, "what?", METHODS)
    next(leaving)
    leaving.close()
    assert not tiny.lock.locked()
    compare(tiny, picture, "what?", METHODS, max_new_tokens=1)


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"methods": []}, "at least one method"),
        ({"methods": Dense()}, "list of"),
        ({"methods": [SkipVision]}, "such as"),
        ({"repeats": 0}, "from 1 to"),
        ({"repeats": 1.5}, "from 1 to"),
        ({"max_new_tokens": 0}, "at least 1"),
        ({"max_new_tokens": 10**6}, "at most"),
        ({"question": " "}, "Type a question"),
        ({"image": b"no"}, "not a picture"),
        ({"methods": [SkipVision(3, 0)]}, "num_skipped must be at least 1"),
    ],
)
def test_bad_input_gets_a_sentence_and_leaves_no_trace(tiny: Vlm, picture, changes: dict, says: str) -> None:
    arguments = {"image": picture, "question": "what?", "methods": METHODS} | changes
    with pytest.raises(InputError, match=says):
        compare(tiny, **arguments)
    assert not tiny.lock.locked()
    compare(tiny, picture, "what?", METHODS, max_new_tokens=1)


def test_all_arms_attend_alike(tiny: Vlm, picture, monkeypatch) -> None:
    config = tiny.model.get_decoder().config
    monkeypatch.setattr(config, "_attn_implementation", "eager")
    report = compare(tiny, picture, "what?", METHODS, max_new_tokens=1)
    assert report.device["attention"] == "sdpa"
    assert config._attn_implementation == "eager"


def test_timing_definitions() -> None:
    timing = AnswerTiming((50.0, 4.0, 6.0))
    assert (timing.prefill_ms, timing.tpot_ms) == (50.0, 5.0)
    assert AnswerTiming((50.0,)).tpot_ms is None
    assert list(fair_order(2, 3)) == [(0, 0), (0, 1), (1, 1), (1, 0), (2, 0), (2, 1)]


@pytest.mark.parametrize(
    "one, other, difference",
    [([1, 2, 3], [1, 2, 3], None), ([1, 2], [1, 2, 3], 3), ([1, 2, 3], [1, 4, 3], 2), ([5], [6], 1)],
)
def test_first_difference(one: list[int], other: list[int], difference: int | None) -> None:
    assert _first_difference(one, other) == difference


def test_arms_are_compared_along_the_first_answer(tiny: Vlm) -> None:
    methods = [Dense(), SkipVision(1.0, 0.0), SkipVision(2, 3)]
    report = compare(tiny, noise_picture(1), "What is it?", methods, max_new_tokens=5, fixed_length=True)
    same, other = (report.agreement[arm.name] for arm in report.arms[1:])
    assert (same.kl, same.top1, same.positions, same.first_difference) == (0, 1, 5, None)
    assert other.kl > 0 and 0 <= other.top1 <= 1
    assert report.to_dict()["agreement"][report.arms[2].name]["kl"] == other.kl


def test_agreement_ends_with_the_answer(tiny: Vlm) -> None:
    """What a run of fixed length writes behind the end of the answer is no answer."""
    picture, config = noise_picture(1), tiny.model.generation_config
    written = [token.id for token in answer(tiny, picture, "What is it?", max_new_tokens=5)]
    own, config.eos_token_id = config.eos_token_id, written[1]
    try:
        report = compare(tiny, picture, "What is it?", max_new_tokens=5, fixed_length=True)
    finally:
        config.eos_token_id = own
    assert report.arms[0].new_tokens == 5
    (agreement,) = report.agreement.values()
    assert agreement.positions == written.index(written[1]) + 1
    assert agreement.first_difference is None or agreement.first_difference <= 5


@pytest.mark.parametrize(
    "encode_s, step_s, times, warm",
    [(0.001, 0.1, 4, True), (0.1, 0.1, 4, True), (0.25, 0.1, 2, True), (0.4, 0.1, 1, True), (60.0, 0.1, 1, False)],
    ids=["cheap", "like a step", "like two", "like a run", "dear"],
)
def test_the_picture_is_encoded_as_often_as_a_spread_needs_and_no_more(
    tiny: Vlm, picture, monkeypatch, encode_s: float, step_s: float, times: int, warm: bool
) -> None:
    """On a clock on which an encoding and a step take what they are said to take."""
    now, encodings = [0.0], []
    encode, forward = Vlm.encode, tiny.model.forward

    def slow_encode(*args, **kwargs):
        encodings.append(now[0])
        now[0] += encode_s
        return encode(*args, **kwargs)

    def slow_forward(*args, **kwargs):
        now[0] += step_s
        return forward(*args, **kwargs)

    monkeypatch.setattr(Vlm, "encode", slow_encode)
    monkeypatch.setattr(tiny.model, "forward", slow_forward)
    for module in (phases, sys.modules["skipcore.answering.generate"]):
        monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    report = compare(tiny, picture, "what?", METHODS, max_new_tokens=4, repeats=4, fixed_length=True)
    arm = report.arms[0]
    assert (arm.spread["vision_ms"].runs, arm.vision_is_warm) == (times, warm)
    assert len(encodings) == times + warm
    assert arm.vision_ms == pytest.approx(1000 * encode_s) and arm.prefill_ms == pytest.approx(1000 * step_s)
    assert arm.ttft_ms == pytest.approx(arm.vision_ms + arm.prefill_ms)
    assert bool(report.notes) == (times < 4)
    if warm:
        assert sum(encode_s for _ in encodings) <= phases.VISION_SHARE * now[0]


def test_a_model_that_is_spread_over_several_places(tiny: Vlm, picture, tmp_path: Path) -> None:
    vlm = tiny_model("LLaVA")
    vlm.model.save_pretrained(tmp_path)
    vlm.processor.save_pretrained(tmp_path)
    spread = load(tmp_path, device={"model": "cpu", "lm_head": "disk"})
    report = compare(spread, picture, "what?", METHODS, max_new_tokens=2)
    assert report.device["name"].endswith(" and weights kept elsewhere")
    assert report.roof is None and "fetched during the runs" in report.unavailable["roof"]
    assert [arm.answer for arm in report.arms] == [ask(vlm, picture, "what?", method, 2) for method in METHODS]


@pytest.mark.parametrize("kind, length", [("cpu", 3), ("cuda", 9)])
def test_a_gpu_is_warmed_up_for_every_length(tiny: Vlm, picture, monkeypatch, kind: str, length: int) -> None:
    """Decode steps of lengths that were not met before are slower there."""
    limits = {"max_new_tokens": 9, "ignore_eos": True, "stop": threading.Event()}
    arm = ArmRuns(tiny, Dense(), "dense", VisionClock(tiny, tiny.prepare(picture, "what?")), limits)
    steps: list[int] = []

    def counted(vlm: Vlm, inputs: dict, session: object, **options: Any) -> Iterator[AnswerToken]:
        monkeypatch.undo()  # the device is the true one again
        for token in generate(vlm, inputs, session, **options):
            steps.append(token.id)
            yield token

    monkeypatch.setattr(arm_runs, "generate", counted)
    monkeypatch.setattr(Vlm, "device", torch.device(kind))
    arm.record()
    assert len(steps) == length and arm.flops > 0 and arm.trace is not None
