"""Settings of the methods: what they choose, what they refuse, how they are saved."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from shared_models import trained_summary

from skipcore import METHODS, AdaptiveSummary, Dense, InputError, SkipVision, load_method, save_method
from skipcore.methods.retain import RETAIN_RULES
from skipcore.methods.skip_vision import UNTRAINED
from skipcore.plan.image_plan import VisualTokens


def tokens(n: int = 36) -> VisualTokens:
    return VisualTokens(torch.randn(n, 8), ((6, n // 6),))


@pytest.mark.parametrize("rule", RETAIN_RULES)
@pytest.mark.parametrize("count", [0, 1, 17, 36])
def test_retain_rules_choose_distinct_tokens(rule: str, count: int) -> None:
    chosen = RETAIN_RULES[rule](tokens(), count, 0).tolist()
    assert len(set(chosen)) == len(chosen) == count
    assert all(0 <= token < 36 for token in chosen)


def test_retain_rules_choose_what_they_say() -> None:
    features = torch.ones(9, 4)
    features[4] = torch.tensor([1.0, -1.0, 0.5, 0.0])  # the odd one out
    image = VisualTokens(features, ((3, 3),))
    assert RETAIN_RULES["saliency"](image, 1, 0).tolist() == [4]
    assert RETAIN_RULES["raster"](image, 3, 0).tolist() == [0, 1, 2]
    assert RETAIN_RULES["uniform"](image, 3, 0).tolist() == [1, 4, 7]
    drawn = [RETAIN_RULES["random"](image, 5, seed).tolist() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    "settings, retained, skipped",
    [
        ({"num_retained": 6, "num_skipped": 10}, 6, 10),
        ({"num_retained": 0.25, "num_skipped": 0.5}, 9, 18),
        ({"num_retained": 0, "num_skipped": 4}, 0, 4),
        ({"num_retained": 30, "num_skipped": 100}, 30, 6),
        ({"num_retained": 500, "num_skipped": 0}, 36, 0),
        ({"num_retained": 1.0, "num_skipped": 0.0}, 36, 0),
    ],
)
def test_counts_and_shares(settings: dict, retained: int, skipped: int) -> None:
    plan = SkipVision(**settings).plan(tokens())
    assert (len(plan.retained), len(plan.skipped)) == (retained, skipped)
    assert len(plan.destination) == 36
    assert plan.destination.max() == retained + skipped - 1
    assert sorted({*plan.retained.tolist(), *plan.skipped.tolist()}) == sorted(
        plan.retained.tolist() + plan.skipped.tolist()
    )


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"num_retained": -1}, "negative"),
        ({"num_skipped": -0.1}, "between 0.0 and 1.0"),
        ({"num_retained": 1.5}, "between 0.0 and 1.0"),
        ({"num_retained": float("nan")}, "between 0.0 and 1.0"),
        ({"num_retained": True}, "whole number"),
        ({"num_skipped": "many"}, "whole number"),
        ({"num_retained": None}, "whole number"),
        ({"retain": "best"}, "saliency"),
        ({"merge_order": "up"}, "raster"),
        ({"positions": "new"}, "original"),
        ({"summary": "mean"}, "AdaptiveSummary"),
        ({"retain": ["raster"]}, "saliency"),
        ({"summary_start": "a"}, "whole number"),
        ({"summary_start": -5}, "negative"),
        ({"seed": 2**70}, "large"),
        ({"text_attends_skipped": "no"}, "False, True"),
        ({"layers": 3}, "must be a list"),
        ({"layers": "all"}, "must be a list"),
        ({"attention_layers": [-1]}, "negative"),
        ({"attention_layers": [0.5]}, "whole number"),
        ({"skip_kv": False}, "set skip_kv=True"),
    ],
)
def test_impossible_settings_are_refused_with_a_sentence(settings: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        SkipVision(**settings)


def test_numpy_numbers_are_numbers() -> None:
    method = SkipVision(np.int64(5), np.float32(0.5))
    assert json.dumps(method.settings()["num_retained"]) == "5"
    assert method.settings()["num_skipped"] == 0.5


def test_saving_without_a_summary_leaves_none(tmp_path) -> None:
    save_method(SkipVision(summary=trained_summary(8)), tmp_path)
    save_method(SkipVision(), tmp_path)
    assert load_method(tmp_path).summary is None


def test_layers_come_in_any_order_and_as_any_list() -> None:
    method = SkipVision(layers=[3, np.int64(1), 3], attention_layers=range(2))
    assert (method.layers, method.attention_layers) == ((1, 3), (0, 1))
    assert SkipVision(layers=()).layers == () and SkipVision().layers is None


def test_where_nothing_skips_everything_is_kept() -> None:
    nothing = SkipVision(0.5, 0.5, layers=(), **UNTRAINED).plan(tokens())
    assert len(nothing.retained) == 36 and not nothing.summaries
    assert len(SkipVision(0.5, 0.5, layers=(1,), **UNTRAINED).plan(tokens()).skipped) == 18
    assert len(SkipVision(0.5, 0.2, layers=(), **UNTRAINED).plan(tokens()).skipped) == 7


@pytest.mark.parametrize("num_layers, skipping", [(3, (2,)), (5, (4,)), (32, tuple(range(22, 32)))])
def test_untrained_skip_vision_skips_in_the_last_third(num_layers: int, skipping: tuple[int, ...]) -> None:
    method = SkipVision.untrained(num_layers)
    assert method.layers == method.attention_layers == skipping
    assert method.label == f"Skip-Vision 50%+50% (FFN {len(skipping)}, attention {len(skipping)} layers)"


def test_dropping_without_a_place_to_merge_is_refused() -> None:
    with pytest.raises(InputError, match="num_skipped must be at least 1"):
        SkipVision(5, 0).plan(tokens())


def test_paper_settings() -> None:
    assert SkipVision.paper("llava").settings() == {
        "num_retained": 100,
        "num_skipped": 156,
        "text_attends_skipped": True,
        "retain": "raster",
        "merge_order": "redundancy",
        "positions": "renumbered",
        "summary": "mean",
        "summary_start": 0,
        "last_skipped_runs_ffn": False,
        "seed": 0,
        "layers": None,
        "attention_layers": (),
        "in_place": False,
        "skip_kv": True,
    }
    assert SkipVision.paper("cos").plan(VisualTokens(torch.randn(1296, 8), ((36, 36),))).summary_start == 16
    with pytest.raises(InputError, match="llava-hd"):
        SkipVision.paper("gpt")  # type: ignore[arg-type]


def test_labels_and_settings_are_plain() -> None:
    assert Dense().label == "Dense"
    assert SkipVision(36, 0.25).label == "Skip-Vision 36+25%"
    json.dumps([method().settings() for method in METHODS.values()])
    assert SkipVision(summary=AdaptiveSummary(4)).settings()["summary"] == "adaptive"


def test_summary_starts_as_the_mean_and_learns() -> None:
    summary, group = AdaptiveSummary(8), torch.randn(5, 8)
    torch.testing.assert_close(summary(group), group.mean(dim=0))
    summary(group).square().sum().backward()
    assert summary.score.weight.grad.abs().sum() > 0
    assert summary(group.half()).dtype == torch.float16


@pytest.mark.parametrize("summary", [None, trained_summary(8)], ids=["mean", "trained"])
def test_a_folder_carries_its_method(tmp_path, summary) -> None:
    assert load_method(tmp_path) is None
    method = SkipVision(0.25, 30, retain="uniform", summary=summary)
    save_method(method, tmp_path)
    loaded = load_method(tmp_path)
    assert loaded.settings() == method.settings()
    if summary is not None:
        group = torch.randn(5, 8)
        assert torch.equal(loaded.summary(group), summary(group))


@pytest.mark.parametrize("settings", ["{", "[]", '{"num_retained": -3}', '{"color": 1}'])
def test_a_damaged_method_is_refused_with_a_sentence(tmp_path, settings: str) -> None:
    (tmp_path / "skip_vision.json").write_text(settings)
    with pytest.raises(InputError, match=r"delete skip_vision.json"):
        load_method(tmp_path)
