"""Links: what is written into an address is read back from it, and nothing bad is."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from app.links import SETTINGS, Link, from_query, ignored_sentence, settings_that_apply, to_query
from app.panels.link import slider_value
from app.settings import Settings

EXAMPLES = ("purple-circle", "two-shapes")
SKIPPING = {"num_retained": 100, "num_skipped": 0.2, "retain": "saliency", "text_attends_skipped": False}
RUN = {"max_new_tokens": 32, "repeats": 3}


def read(query: str) -> tuple[Link, tuple[str, ...]]:
    return from_query(dict(parse_qsl(query.removeprefix("?"), keep_blank_values=True)), EXAMPLES)


@pytest.mark.parametrize(
    "link",
    [
        Link(),
        Link("What color is it?", "purple-circle"),
        Link("¿Qué es? 这是什么？ 🔴 & <b>=%20+#?", "two-shapes", None, {"repeats": 20}),
        Link("Two\nlines", None, 0),
        Link("", None, 99_999, {"method": "FastV", "budget": 0.07, "then_skip_vision": True} | SKIPPING),
        Link("x" * 4_000, None, None, {"num_retained": 0, "num_skipped": 1.0, "retain": "uniform"}),
        Link("?", None, None, {"method": "VTW", "budget": 1e-05, "then_skip_vision": False} | RUN),
    ],
)
def test_what_is_written_is_read_back(link: Link) -> None:
    back, ignored = read(to_query(link))
    assert back == link and ignored == ()
    assert {name: type(value) for name, value in back.settings.items()} == {
        name: type(value) for name, value in link.settings.items()
    }


def test_every_setting_can_be_in_a_link() -> None:
    """All that a visitor chooses for a comparison; whether answers have a fixed length, the benchmark says."""
    assert [*SETTINGS, "fixed_length"] == list(Settings.__dataclass_fields__)


@pytest.mark.parametrize(
    "query, ignored",
    [
        ("example=../../etc/passwd", ("example",)),
        ("example=", ("example",)),
        ("scene=100000", ("scene",)),
        ("scene=-1", ("scene",)),
        ("scene=１２", ("scene",)),
        ("scene=1_0", ("scene",)),
        ("example=two-shapes&scene=7", ("scene",)),
        ("question=%20%0A", ("question",)),
        ("question=" + "x" * 4_001, ("question",)),
        ("num_retained=1.5&num_skipped=nan", ("num_retained", "num_skipped")),
        ("num_retained=inf", ("num_retained",)),
        ("num_retained=1e-1e", ("num_retained",)),
        ("num_skipped=" + "9" * 5_000, ("num_skipped",)),
        ("budget=" + "9" * 5_000, ("budget",)),
        ("retain=best&text_attends_skipped=1", ("retain", "text_attends_skipped")),
        ("max_new_tokens=257&repeats=0", ("max_new_tokens", "repeats")),
        ("method=Dense&budget=40&then_skip_vision=", ("method", "budget", "then_skip_vision")),
    ],
)
def test_what_is_bad_is_ignored_and_named(query: str, ignored: tuple[str, ...]) -> None:
    link, named = read(query)
    assert named == ignored
    assert link.settings == {} and link.question == "" and link.scene is None
    assert all(name in ignored_sentence(named) for name in ignored)


def test_other_names_are_of_no_concern() -> None:
    assert read("__theme=dark&utm_source=x&path=/etc/passwd") == (Link(), ())
    assert ignored_sentence(()) == ""


def test_a_bad_part_leaves_the_good_ones() -> None:
    link, ignored = read("question=What+is+it%3F&repeats=0&num_retained=36")
    assert link == Link("What is it?", settings={"num_retained": 36}) and ignored == ("repeats",)


@pytest.mark.parametrize(
    "changes, names",
    [
        ({}, {*SKIPPING, *RUN, "method"}),
        ({"method": "FastV", "budget": 0.5}, {*RUN, "method", "budget", "then_skip_vision"}),
        ({"method": "FastV"}, {*RUN, "method", "then_skip_vision"}),
        (
            {"method": "FastV", "budget": 0.5, "then_skip_vision": True},
            {*SKIPPING, *RUN, "method", "budget", "then_skip_vision"},
        ),
    ],
)
def test_a_link_carries_the_settings_that_apply(changes: dict, names: set[str]) -> None:
    assert set(settings_that_apply(Settings(**(SKIPPING | RUN | changes)))) == names


@pytest.mark.parametrize(
    "count, most, in_shares, value",
    [
        (36, 576, False, 36),
        (900, 576, False, 576),
        (0.25, 576, False, 144),
        (0.2, 100, True, 20),
        (36, 100, True, None),
    ],
)
def test_where_a_slider_stands(count: int | float, most: int, in_shares: bool, value: int | None) -> None:
    assert slider_value(count, most, in_shares) == value
