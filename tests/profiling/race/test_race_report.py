"""What the report says of records: tables, sentences, intervals, the front, the picture."""

from __future__ import annotations

import json
from math import sqrt
from pathlib import Path

import pytest
from race_lines import HEADER, choice, cost, data, quality

from profiling.race.intervals import paired_difference, wilson
from profiling.race.race_plot import style_of, write_race_plot
from profiling.race.race_tables import markdown, summary_line, with_sentences
from profiling.race.results import RaceResult, read_race, result_of
from skipcore import METHODS, InputError

N = 40
CHOICES = [
    choice("Dense", None, 1.0),
    choice("SkipVision", 0.25, 0.249),
    choice("FastV", 0.25, 0.25),
    choice("DivPrune", 0.25, 0.24),
    choice("RandomTokens", 0.25, 0.25),
    choice("DART", 0.25, 0.25),
    choice("VTW", 0.25, 0.21),
]
RIGHT = {
    "Dense": "1" * N,
    "SkipVision": "1100" * 10,
    "FastV": "1110" * 10,  # ahead by a question to every picture: no chance in it
    "DivPrune": "1100" * 9 + "1111",  # ahead at one picture only
    "RandomTokens": "1000" * 10,
    "DART": "0011" * 10,
    "VTW": "1111" * 10,
}


def lines(**more: str) -> list[dict]:
    right = RIGHT | more
    qualities = [quality(each["method"], each["budget"], right[each["method"]]) for each in CHOICES]
    return [HEADER, data(), *CHOICES, *qualities]


@pytest.fixture
def race() -> RaceResult:
    return with_sentences(result_of(lines()))


def test_the_sentence_says_who_is_ahead_and_whether_that_may_be_chance(race: RaceResult) -> None:
    assert race.sentences["made"]["0.25"] == (
        "At 25% of the dense prefill FLOPs Skip-Vision (trained for this model) is right in 50.0% of 40 questions of "
        "made. Ahead of it, beyond the 95% interval: FastV (+25.0 ± 0.0 points). Ahead of it, but within the "
        "interval: DivPrune (+5.0 ± 9.8 points). Behind it, beyond the 95% interval: RandomTokens (−25.0 ± 0.0 "
        "points). Level with it: DART. Not at this budget, so not compared: VTW (21%)."
    )


@pytest.mark.parametrize(
    "right, flops, source, says",
    [
        ("1" * N, 0.25, "trained", "No other method is ahead of it."),
        ("1100" * 10, 0.3, "trained", "of made, but takes 30%."),
        ("1100" * 10, 0.25, "untrained", "Skip-Vision (not trained for this model) is right in"),
        ("1100" * 10, 0.25, "calibrated", "Skip-Vision (calibrated for this model)"),
    ],
)
def test_sentences_for_other_outcomes(right: str, flops: float, source: str, says: str) -> None:
    changed = lines(SkipVision=right)
    changed[0] = HEADER | {"skipping": {"source": source, "settings": {}}}
    changed[3] = choice("SkipVision", 0.25, flops)
    assert says in with_sentences(result_of(changed)).sentences["made"]["0.25"]


def test_the_table_is_sorted_and_marks_what_is_off_budget(race: RaceResult) -> None:
    table = [line for line in markdown(race).splitlines() if line.startswith("| ")]
    names = [line.split(" | ")[0].removeprefix("| ") for line in table]
    assert names == ["method", "Dense", "VTW", "FastV", "DivPrune", "**Skip-Vision**", "DART", "RandomTokens"]
    low, high = wilson(20, 40)
    assert f"| **Skip-Vision** | 24.9% | 50.0 ± {50 * (high - low):.1f}% | 0.5000 | 75.0% | 50.0%" in table[5]
    assert "| 21.0% † |" in table[2] and "†" not in table[3]
    assert all("not measured" in line for line in table[1:])
    assert "a blind guess is right in 10.0%" in markdown(race)


def test_costs_are_means_over_the_prompts_and_none_is_no_zero() -> None:
    keys = [each["key"] for each in CHOICES]
    slow = {"SkipVision-0.25": {"prefill_ms": 8.0, "flops_ratio": 0.24, "scoring_ms": 1.0}}
    fast = {"SkipVision-0.25": {"prefill_ms": 6.0, "flops_ratio": 0.26, "scoring_ms": 2.0}}
    costs = [cost({key: some.get(key, {}) for key in keys}, prompt=n) for n, some in enumerate((slow, fast))]
    found = with_sentences(result_of([*lines(), *costs]))
    row = next(row for row in found.data[0].rows if row.method == "SkipVision")
    assert row.cost is not None and row.flops == row.cost.flops == pytest.approx(0.25)
    assert row.cost.prefill_ms == 7.0 and row.cost.prefill_ratio == pytest.approx(0.35)
    assert row.cost.scoring_time == pytest.approx(0.075)
    text = markdown(found)
    assert "7.0 ms (19.0–22.0)" in text and "peak_memory_bytes: not available, the runs were on the CPU." in text
    assert "means over 2 prompts of the median of 3 interleaved runs" in text
    other = cost({key: {} for key in keys}, name="elsewhere")
    assert result_of([*lines(), other]).data[0].rows[0].cost is None  # timed on other data


def test_without_truth_rows_are_held_against_dense_answers() -> None:
    changed = [line | {"right": None} if line["kind"] == "quality" else line for line in lines()]
    changed[1] = data(has_truth=False)
    found = with_sentences(result_of(changed))
    assert "answers as the dense model in 50.0% of 40 questions" in found.sentences["made"]["0.25"]
    text = markdown(found)
    assert "there are no true answers" in text and "| same answer | KL, nats |" in text


def test_the_front_is_what_nothing_beats(race: RaceResult) -> None:
    """VTW is as good as Dense for less, and beats all that take more."""
    assert {row.method for row in race.data[0].rows if row.on_front} == {"VTW"}
    worse = result_of(lines(VTW="0000" * 10))
    assert {row.method for row in worse.data[0].rows if row.on_front} == {"Dense", "FastV", "DivPrune", "VTW"}


def test_only_what_all_have_answered_counts() -> None:
    more = [quality(each["method"], each["budget"], "1" * 4, chunk=1) for each in CHOICES[:-1]]
    changed = [*lines(), *more]
    changed[1] = data(questions=80)
    found = result_of(changed)
    assert found.data[0].asked == 40 and "of 80: not all are answered yet" in markdown(with_sentences(found))
    with pytest.raises(InputError, match="let the race go on"):
        result_of(lines()[: -len(CHOICES)])


def test_the_last_of_what_was_recorded_twice_counts() -> None:
    again = [choice("FastV", 0.25, 0.2), quality("FastV", 0.25, "0" * N)]
    row = next(row for row in result_of([*lines(), *again]).data[0].rows if row.method == "FastV")
    assert (row.score, row.flops) == (0.0, 0.2)


def test_files_of_several_processes_are_one_race(tmp_path: Path) -> None:
    own, other = tmp_path / "race.jsonl", tmp_path / "race.process-1.jsonl"
    first = lines()
    second = [HEADER, data(), *CHOICES, *(quality(each["method"], each["budget"], "1111", chunk=1) for each in CHOICES)]
    own.write_text("\n".join(map(json.dumps, first)) + '\n{"kind": "qual')
    other.write_text("\n".join(map(json.dumps, second)) + "\n")
    assert read_race(own).data[0].asked == 44
    other.write_text(json.dumps(HEADER | {"model_sha256": "1" * 64}) + "\n")
    with pytest.raises(InputError, match="another model sha256"):
        read_race(own)


def test_the_summary_is_one_line(race: RaceResult) -> None:
    line = summary_line(race)
    assert line["data"]["made"]["0.25"]["FastV"] == {"score": 0.75, "flops": 0.25, "at": True}
    assert line["data"]["made"]["dense"] == 1.0
    json.dumps(race.to_dict(), allow_nan=False)


@pytest.mark.parametrize("name", ["race.svg", "race.png"])
def test_the_picture(race: RaceResult, tmp_path: Path, name: str) -> None:
    pytest.importorskip("matplotlib")
    write_race_plot(race, tmp_path / name)
    assert (tmp_path / name).stat().st_size > 5_000
    if name.endswith("svg"):
        drawn = (tmp_path / name).read_text()
        assert all(text in drawn for text in ("Skip-Vision", "DivPrune", "blind guess", "FLOPs"))
    looks = [style_of(method) for method in METHODS if method != "Dense"]
    assert len(set(looks)) == len(looks) == len({marker for _, marker in looks})


@pytest.mark.parametrize(
    "right, asked, expected", [(0, 10, (0.0, 0.2775)), (5, 10, (0.2366, 0.7634)), (10, 10, (0.7225, 1.0))]
)
def test_wilson(right: int, asked: int, expected: tuple[float, float]) -> None:
    assert wilson(right, asked) == pytest.approx(expected, abs=1e-4)


def test_differences_are_paired_by_picture() -> None:
    one, other = [[True, True], [True, False], [False, False]], [[True, False], [True, False], [False, False]]
    mean, half = paired_difference(one, other)
    assert mean == pytest.approx(1 / 6)
    spread = (2 / 3) ** 2 + 2 * (1 / 3) ** 2  # sums of deviations: 1 − 2/6 and twice −2/6
    assert half == pytest.approx(1.96 * sqrt(spread * 3 / 2) / 6)
    assert paired_difference(one[:1], other[:1]) == (0.5, None)
