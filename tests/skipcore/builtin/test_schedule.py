"""What a stage does at each of its steps: learning rate, whether it skips, and with what budget."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("easy_vqa")

from training_runs import STAGE

from skipcore import AdaptiveSummary
from skipcore.builtin.training import training_loop as finetune
from skipcore.builtin.training.recipe import Skipping


def test_learning_rates() -> None:
    stage = replace(STAGE, steps=100, warm_up=10, first_rate=1.0, last_rate=0.1)
    rates = [finetune.learning_rate(stage, step) for step in range(101)]
    assert rates[:3] == pytest.approx([0.1, 0.2, 0.3]) and rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.55) and rates[100] == pytest.approx(0.1)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[10:]))
    assert finetune.learning_rate(replace(stage, warm_up=0), 0) == 1.0
    assert 0 < finetune.learning_rate(replace(stage, warm_up=200), 99) < 1


@pytest.mark.parametrize("share", [0.0, 0.25, 0.3, 0.5, 1.0])
def test_skipping_steps_are_spread_evenly(share: float) -> None:
    stage = replace(STAGE, skipping=Skipping(share))
    skips = [finetune.skips_in(stage, step) for step in range(1000)]
    assert sum(skips) == pytest.approx(1000 * share, abs=1)
    tens = np.add.reduceat(skips, np.arange(0, 1000, 10))
    assert tens.max() - tens.min() <= 1


def test_budgets_are_drawn_few_as_often_as_many() -> None:
    """From 8 + 32 up to 0.3 and 0.5 of the tokens, evenly on a logarithmic scale; every rule is drawn."""
    summary = AdaptiveSummary(32)
    stage = replace(STAGE, image_side=336)
    methods = [finetune.stage_method(stage, np.random.default_rng(seed), summary) for seed in range(600)]
    retained = np.array([method.num_retained for method in methods])
    skipped = np.array([method.num_skipped for method in methods])
    assert retained.min() == 8 and 165 <= retained.max() <= 173
    assert skipped.min() == 32 and 275 <= skipped.max() <= 288
    assert np.median(retained) == pytest.approx(math.sqrt(8 * 173), rel=0.2)
    assert {method.retain for method in methods} == set(finetune.RETAIN_RULES)
    assert all(method.summary is summary and not method.text_attends_skipped for method in methods)
    fixed = replace(stage, skipping=Skipping(1.0, 100, 156, random_rule=False))
    method = finetune.stage_method(fixed, np.random.default_rng(0), summary)
    assert (method.num_retained, method.num_skipped, method.retain) == (100, 156, "saliency")
