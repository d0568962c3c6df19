"""A race as it is shown: who is where, and how much it is slowed down."""

from __future__ import annotations

import pytest

from app.panels.lanes import lanes
from app.runs.side_by_side import slowdown
from skipcore.answering.alternate import Step

STEPS = [
    Step(1, "a", 0.04, False),
    Step(0, "a", 0.1, False),
    Step(1, "a <b>", 0.11, True),
    Step(0, "a lion", 0.2, True),
]


@pytest.mark.parametrize(
    "steps, factor",
    [
        (STEPS, 20),
        (STEPS[:3], 1),  # stopped
        ([], 1),
        ([Step(0, "a", 5.0, True), Step(1, "a", 3.0, True)], 1),
        ([Step(0, "a", 3.0, True), Step(1, "a", 2.0, True)], 2),
    ],
)
def test_slowdown(steps: list[Step], factor: int) -> None:
    assert slowdown(steps) == factor


def test_lanes() -> None:
    names = ["Dense", "<s>"]
    assert lanes(names, []).count("reading") == 2
    assert lanes(names, STEPS[:1]).count("reading") == 1 and lanes(names, STEPS[:1]).count("live") == 2
    whole = lanes(names, STEPS)
    dense, skip = whole.split('<div class="reply skip')
    assert "done first" in skip and "done first" not in dense and "a lion" in dense
    assert "<b>" not in whole and "<s>" not in whole and "live" not in whole
