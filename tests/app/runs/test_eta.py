"""How far a run is and what is left, on a clock by hand."""

from __future__ import annotations

from app.runs.eta import Eta


def test_the_rest_takes_as_long_as_the_mean_so_far() -> None:
    now = [0.0]
    eta = Eta(lambda: now[0])
    said = []
    for seconds in (5.0, 7.0, 11.0, 611.0):
        now[0] = seconds
        eta.begin(4)
        said.append(eta.sentence("run"))
    assert said == [
        "run: 0% done.",
        "run: 25% done, about 6 s left.",
        "run: 50% done, about 6 s left.",
        "run: 75% done, about 3 min left.",
    ]
