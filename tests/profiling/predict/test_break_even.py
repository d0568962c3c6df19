"""From where on a method pays, by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from profiling.predict.break_even import break_even


def arm(flops: float, prefill_ms: float, tpot_ms: float | None = 2.0) -> SimpleNamespace:
    return SimpleNamespace(flops_prefill=flops, prefill_ms=prefill_ms, tpot_ms=tpot_ms)


DENSE = arm(1e9, 12.0)  # 10 ms beyond a decode step: 100 GFLOP/s


@pytest.mark.parametrize(
    "skipping, tokens, own_cost",
    [
        (arm(0.2e9, 4.0), 0, 0.0),  # 8 ms ideal, 8 ms saved
        (arm(0.2e9, 6.0), 25, 2.0),  # 8 ms ideal, 6 ms saved
        (arm(0.2e9, 12.0), 100, 8.0),  # nothing saved: it breaks even right here
        (arm(0.2e9, 16.0), 150, 12.0),  # a loss here
        (arm(0.2e9, 3.0), 0, -1.0),
    ],
)
def test_break_even(skipping: SimpleNamespace, tokens: int, own_cost: float) -> None:
    found, reason = break_even(DENSE, skipping, 100)
    assert reason is None and found is not None
    assert found.visual_tokens == tokens and found.own_cost_ms == pytest.approx(own_cost)
    assert found.pace == pytest.approx(100e9) and found.fixed_ms == 2.0


@pytest.mark.parametrize(
    "first, other, tokens, says",
    [
        (DENSE, arm(1e9, 10.0), 100, "no prefill FLOPs"),
        (DENSE, arm(2e9, 10.0), 100, "no prefill FLOPs"),
        (DENSE, arm(0.5e9, 10.0), 0, "no visual tokens"),
        (arm(1e9, 12.0, None), arm(0.5e9, 10.0), 100, "one token"),
        (arm(1e9, 2.0), arm(0.5e9, 1.0), 100, "no longer than a decode step"),
        (DENSE, arm(0.99e9, 20.0), 100, "beyond 4 times the 100"),
    ],
)
def test_where_it_cannot_be_known_the_reason_is_told(first, other, tokens: int, says: str) -> None:
    found, reason = break_even(first, other, tokens)
    assert found is None and says in str(reason)
