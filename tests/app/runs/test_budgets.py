"""One control for every method: the choice comes from `METHODS`, and a share becomes the method's own settings."""

from __future__ import annotations

import pytest
from every_method import trace_on
from PIL import Image
from shared_models import noise_picture

from app.panels.method import MethodPanel
from app.runs.offered_methods import OFFERED, SKIP_VISION, summary_of, with_budget
from app.settings import Settings
from profiling.bench.random_models import DecoderSize, random_llava
from skipcore import METHODS, InputError, Method, Vlm
from skipcore.methods import (
    DART,
    VTW,
    Combined,
    DivPrune,
    DyMU,
    FastV,
    PyramidDrop,
    RandomTokens,
    ShortV,
    V2Drop,
    VisionZip,
)

OTHERS = [name for name in OFFERED if name != SKIP_VISION]


def test_every_method_with_a_budget_is_offered() -> None:
    assert set(OFFERED) == set(METHODS) - {"Dense"} and next(iter(OFFERED)) == SKIP_VISION
    assert all(summary_of(method) for method in OFFERED.values())
    assert summary_of(FastV).startswith("FastV: after a few layers")


@pytest.mark.parametrize(
    "name, share, depth, expected",
    [
        ("FastV", 0.4, 32, FastV(3, 0.4)),
        ("FastV", 0.4, 5, FastV(1, 0.4)),
        ("DART", 0.4, 32, DART(2, 0.4)),
        ("PyramidDrop", 0.125, 32, PyramidDrop()),
        ("V2Drop", 0.125, 32, V2Drop(num_kept=(0.5, 0.25, 0.125))),
        ("VisionZip", 0.5, 32, VisionZip(54 / 128, 10 / 128)),
        ("ShortV", 0.4, 32, ShortV(0.4)),
        ("VTW", 0.4, 32, VTW(0.4)),
        ("DivPrune", 0.4, 32, DivPrune(0.4)),
        ("RandomTokens", 1, 32, RandomTokens(1.0)),
        ("FastV", None, 32, FastV()),
        ("DART", None, 32, DART()),
        ("ShortV", None, 32, ShortV()),
        ("VTW", None, 32, VTW()),
        ("DivPrune", None, 32, DivPrune()),
    ],
)
def test_a_share_becomes_settings(name: str, share: float | None, depth: int, expected: Method) -> None:
    assert with_budget(name, share, random_llava(DecoderSize(16, depth, 2, 1), 16, 8, 16)) == expected


def test_dymu_learns_its_thresholds_once(tiny: Vlm) -> None:
    found = with_budget("DyMU", 0.6, tiny)
    assert isinstance(found, DyMU) and len(found.thresholds) == len(DyMU.find(tiny, [noise_picture(0)]).thresholds)
    assert with_budget("DyMU", 0.6, tiny) == found != with_budget("DyMU", 0.7, tiny)


@pytest.mark.parametrize("name", OTHERS)
def test_every_method_runs_with_every_budget(tiny: Vlm, picture: Image.Image, name: str) -> None:
    work = []
    for share in (0.0, 0.3, 0.8, 1.0):
        trace = trace_on(tiny, picture, with_budget(name, share, tiny))
        work.append(int(trace.ran_ffn.sum()))
    assert work == sorted(work, reverse=name == "ShortV") and work[0] != work[-1]
    whole = trace_on(tiny, picture, with_budget(name, 0.0 if name == "ShortV" else 1.0, tiny))
    assert whole.ran_ffn.all() and whole.ran_attention.all()


@pytest.mark.parametrize("share", [-0.1, 1.1, 50, "half", True, float("nan")])
def test_impossible_budgets_get_a_sentence(tiny: Vlm, share: object) -> None:
    with pytest.raises(InputError, match="budget must be a share from 0 to 1"):
        with_budget("FastV", share, tiny)  # type: ignore[arg-type]


def test_hidden_controls_say_nothing() -> None:
    assert MethodPanel.read(SKIP_VISION, 50, True) == {"method": SKIP_VISION}
    assert MethodPanel.read("FastV", 40, True) == {"method": "FastV", "budget": 0.4, "then_skip_vision": True}


def test_skip_vision_follows_where_it_is_told_to(tiny: Vlm) -> None:
    def settings(**changes: object) -> Settings:
        return Settings(10, 12, "saliency", True, 3, 1, **changes)  # type: ignore[arg-type]

    own = settings().compared(tiny)
    assert own.settings()["num_retained"] == 10 and type(own).__name__ == SKIP_VISION
    assert settings(method="DivPrune", budget=0.5).compared(tiny) == DivPrune(0.5)
    both = settings(method="DivPrune", budget=0.5, then_skip_vision=True).compared(tiny)
    assert both == Combined(DivPrune(0.5), own)
