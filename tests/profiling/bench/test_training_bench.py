"""The benchmark of a training step on a small decoder: what it records."""

from __future__ import annotations

import json

from profiling.bench import training_step
from profiling.bench.random_models import DecoderSize
from profiling.bench.training_step import record_of, run_training_bench, table_of_costs


def test_what_it_records() -> None:
    cases = ((112, 8, 16), (112, 8, 56))
    costs = list(run_training_bench(0, DecoderSize(64, 3, 4, 2), cases))
    merged, unmerged = costs
    assert merged.method == "Skip-Vision 8+16" and merged.tokens == unmerged.tokens > 64
    assert 0.2 < merged.flops < unmerged.flops < 1 and 0.2 < merged.saved < unmerged.saved < 1
    assert merged.checkpointed_saved < unmerged.checkpointed_saved < 1.2 and 0 < merged.session_ms < 100
    assert len(table_of_costs(costs).splitlines()) == 4
    record = json.loads(json.dumps(record_of(costs)))
    assert record["cases"][0]["time"]["rounds"] == 2 and {"torch", "transformers"} <= record["versions"].keys()
    assert len(training_step.CASES) == 4
