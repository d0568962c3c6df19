"""Settings for a budget: found by bisection, nearest from below, and honest where a method is too coarse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from shared_models import noise_picture, trained_summary

from profiling.race.bisection import BASELINES, Choice, choose, is_near
from profiling.race.method_cost import prefill_flops
from skipcore import METHODS, Dense, InputError, Method, SkipVision, Vlm
from skipcore.calibration.tuning import Examples
from skipcore.methods import dymu
from skipcore.methods.budget import Target
from skipcore.methods.downsampled import Downsampled
from skipcore.methods.dymu import DyMU
from skipcore.methods.fastv import FastV
from skipcore.methods.settings import resolve

OWN = SkipVision(20, 30, summary=trained_summary(8))
LEARNED: Any = SimpleNamespace(
    layers_by_contribution=(2, 0, 1, 3), vlm=SimpleNamespace(calibration=None, skip_vision=OWN)
)
WITH_BUDGET = [name for name in METHODS if name != "Dense"]


@pytest.fixture(autouse=True)
def thresholds_are_shares(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "tiny" not in request.fixturenames:
        monkeypatch.setattr(dymu, "found_on", lambda examples, share: DyMU([share]))


def target(tokens: int = 100, is_fixed: bool = True, layers: int = 4) -> Target:
    return Target(layers, tokens, is_fixed, LEARNED)


def chosen(kind: str, budget: float, target: Target, flops: Callable[[Method], float]) -> Choice:
    assert target.examples is not None
    return choose(METHODS[kind]().tuned(target.examples), budget, target, flops)


def by_tokens(method: Any) -> float:
    return 0.1 + 0.008 * method.num_kept if isinstance(method.num_kept, int) else 0.9


def from_layer(method: Any) -> float:
    share = 1.0 if method.num_kept == 1.0 else method.num_kept / 100
    return (method.layer + (4 - method.layer) * share) / 4


@pytest.mark.parametrize(
    "kind, budget, flops, expected, near",
    [
        ("RandomTokens", 0.5, by_tokens, {"num_kept": 50}, True),
        ("DivPrune", 0.3, lambda method: 0.007 * getattr(method, "num_kept", 0), {"num_kept": 42}, True),
        ("UniformGrid", 0.05, by_tokens, {"num_kept": 1}, False),  # even the least is too much
        ("FastV", 0.5, from_layer, {"layer": 1, "num_kept": 33}, True),
        ("FastV", 0.2, from_layer, {"layer": 1, "num_kept": 1}, False),
        ("VTW", 0.5, lambda method: {0: 0.1, 1: 0.3, 2: 0.45, 3: 0.7}.get(method.layer, 1.0), {"layer": 2}, False),
        ("VTW", 0.5, lambda method: {0: 0.1, 1: 0.3, 2: 0.51}.get(method.layer, 0.9), {"layer": 2}, True),
        ("ShortV", 0.5, lambda method: 1 - 0.2 * method.num_frozen, {"num_frozen": 3, "order": (2, 0, 1, 3)}, False),
        ("DyMU", 0.5, lambda method: 0.2 + 0.6 * method.thresholds[0], {"thresholds": (0.5,)}, True),
        ("VisionZip", 0.5, lambda method: (method.num_dominant + method.num_contextual) / 100,
         {"num_dominant": 43, "num_contextual": 7}, True),
        ("PyramidDrop", 0.5, lambda method: sum(kept if kept > 1 else 100 for kept in method.num_kept) / 300,
         {"num_kept": (86, 43, 21)}, True),
    ],
)  # fmt: skip
def test_settings_that_reach_a_budget(
    kind: str, budget: float, flops: Callable[[Method], float], expected: dict[str, Any], near: bool
) -> None:
    found = chosen(kind, budget, target(), flops)
    assert {name: getattr(found.method, name) for name in expected} == expected
    assert found.flops == flops(found.method)
    assert is_near(found.flops, budget) == near


def test_a_smaller_layer_where_the_authors_cannot_reach_it() -> None:
    """FastV from layer 3 of 32 costs a tenth at least; for less it drops earlier."""

    def flops(method: Any) -> float:
        kept = method.num_kept if isinstance(method.num_kept, int) else 100
        return (method.layer + (32 - method.layer) * kept / 100) / 32

    deep = target(layers=32)
    assert chosen("FastV", 0.5, deep, flops).method == FastV(3, 44)
    assert chosen("FastV", 0.07, deep, flops).method == FastV(2, 1)
    assert chosen("FastV", 0.04, deep, flops).method == FastV(1, 1)


def test_skip_vision_is_scaled_and_else_as_trained() -> None:
    def flops(method: Any) -> float:
        return (resolve(method.num_retained, 100) + 0.3 * resolve(method.num_skipped, 100)) / 100

    for budget, counts in {0.1: (7, 10), 0.58: (40, 60), 0.8: (71, 29)}.items():
        found = chosen("SkipVision", budget, target(), flops)
        method = found.method
        assert isinstance(method, SkipVision) and method.summary is OWN.summary and method.retain == OWN.retain
        assert (method.num_retained, method.num_skipped) == counts, budget
        assert budget - 0.02 <= found.flops <= budget


def test_shares_where_pictures_differ_in_size() -> None:
    found = chosen("RandomTokens", 0.5, target(is_fixed=False), lambda method: getattr(method, "num_kept", 0.0))
    assert getattr(found.method, "num_kept", None) == 0.5
    found = chosen("Downsampled", 0.25, target(), lambda method: getattr(method, "num_kept", 0.0))
    assert found.method == Downsampled(0.25)  # always a share: a count says nothing of pixels


def test_baselines_are_methods_and_dense_has_no_budget() -> None:
    assert set(BASELINES) <= set(METHODS)
    with pytest.raises(InputError, match="no method 'Dense' with a budget"):
        choose(Dense(), 0.5, target(), lambda method: 1.0)


@pytest.mark.parametrize("kind", WITH_BUDGET)
def test_steps_raise_the_flops_of_a_real_model(kind: str, tiny: Vlm) -> None:
    """From the first step to the last FLOPs rise and never fall, and a budget between is met from below."""
    prompts = [noise_picture(0), noise_picture(1)]
    examples = Examples(replace(tiny, method=SkipVision(0.2, 0.3)), prompts, ["what?"] * 2)
    real = Target(3, 64, True, examples)
    dense = prefill_flops(tiny, Dense(), prompts[0], "what?")

    def share(method: Method) -> float:
        return prefill_flops(tiny, method, prompts[0], "what?") / dense

    steps = METHODS[kind]().tuned(examples).budget_steps(real)[0]
    numbers = sorted({round(steps.last * part / 6) for part in range(7)})
    flops = [share(steps.at(number)) for number in numbers]
    slack = 0.06 if kind in ("DivPrune", "SPIDER", "PyramidDrop") else 1e-9  # choosing costs; keeping all chooses not
    assert all(later >= earlier - slack for earlier, later in pairwise(flops)), flops
    assert flops[0] < flops[-1]
    found = chosen(kind, 0.6, real, share)
    assert found.flops <= 0.62 or kind == "DyMU"
    if kind not in ("ShortV", "VTW", "DyMU", "Downsampled"):
        assert is_near(found.flops, 0.6), found
