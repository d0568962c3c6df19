"""What is compared and averaged is so in float32, in a fixed order: bfloat16 models merge as float32 ones do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from family_methods import METHODS, PEERS, SEEING_PEERS
from model_runs import logits
from shared_models import noise_picture, trained_summary
from tiny_families import WIDTH, tiny_model

import skipcore
from skipcore import Method
from skipcore.engine import layer_view as looking
from skipcore.engine.layer_view import mean_attention
from skipcore.methods import DyMU
from skipcore.methods.div_prune import most_diverse
from skipcore.methods.spider import k_means
from skipcore.plan.averages import averages
from skipcore.plan.image_plan import ImagePlan
from skipcore.plan.layer_rows import rows_of_layers
from skipcore.plan.merge import merge_tokens, redundancy
from skipcore.plan.summary import summarize
from skipcore.plan.tiles import PlacedPicture, Tile
from skipcore.plan.token_plan import plan_sample
from skipcore.tower import observer as tower
from skipcore.tower.observer import attention_of_class, attention_received

SIZES = [1, 2, 3, 4, 5, 8, 9, 31, 306, 0, 1]
"""Of groups: one without rows, and one as large as they get in a tower."""
SHORT = [torch.bfloat16, torch.float16]


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def alike(n: int, d: int = 32, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """Rows that resemble each other as visual tokens do: many similarities are equal in bfloat16."""
    return (torch.randn(1, d) + 0.3 * torch.randn(n, d)).to(dtype)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, *SHORT])
def test_means_are_those_of_float64_rounded(dtype: torch.dtype, weighted: bool, deterministic: None) -> None:
    group = torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))
    group = group[torch.randperm(len(group))]
    rows = torch.randperm(len(group) + 20)[: len(group)]
    states, weight = alike(len(group) + 20, 64, dtype), torch.rand(len(group)) + 0.1 if weighted else None
    actual = averages(rows, group, len(SIZES), weight).of(states)
    for number, size in enumerate(SIZES):
        if size:
            own = states[rows[group == number]].double()
            shares = torch.ones(size) if weight is None else weight[group == number]
            expected = (own * shares[:, None]).sum(dim=0) / shares.double().sum()
            if dtype == torch.float32:
                torch.testing.assert_close(actual[number].double(), expected, rtol=1e-6, atol=1e-6)
            else:
                assert (actual[number] == expected.to(dtype)).float().mean() > 0.98  # else a tie of the rounding
                torch.testing.assert_close(actual[number], expected.to(dtype), rtol=0.01, atol=1e-3)


def test_gradients_flow_through_the_rows(deterministic: None) -> None:
    group = torch.tensor([0, 1, 1, 3, 3, 3])
    states = torch.randn(8, 3, requires_grad=True)
    rows = torch.tensor([5, 0, 2, 7, 1, 4])
    factors = torch.randn(4, 3)
    (averages(rows, group, 4).of(states) * factors).sum().backward()
    expected = torch.zeros(8, 3)
    expected[rows] = factors[group] / group.bincount()[group, None]
    expected[0] += factors[2]  # a group without rows reads the first
    assert states.grad is not None
    torch.testing.assert_close(states.grad, expected)


@pytest.mark.parametrize("dtype", SHORT)
@pytest.mark.parametrize("order", ["raster", "redundancy"])
def test_short_floats_merge_as_float32_does(dtype: torch.dtype, order: str) -> None:
    features = alike(300, dtype=dtype)
    short, exact = merge_tokens(features, 60, order), merge_tokens(features.float(), 60, order)
    assert torch.equal(redundancy(features), redundancy(features.float()))
    assert torch.equal(short.destinations, exact.destinations) and torch.equal(short.assignment, exact.assignment)


@pytest.mark.parametrize("dtype", SHORT)
def test_short_floats_are_scored_as_float32_is(dtype: torch.dtype) -> None:
    query, key = (torch.randn(2, 4, 50, 8).to(dtype) for _ in range(2))
    for score in (attention_of_class, attention_received):
        assert torch.equal(score(query, key, None, 0.3), score(query.float(), key.float(), None, 0.3))
    plan = plan_sample(torch.ones(50, dtype=torch.bool), [], [], 1)
    (rows,) = rows_of_layers([plan, plan], text_attends_skipped=True)
    given = (None, torch.tensor([[False] * 4 + [True] * 2] * 2), rows, 0.3)
    assert torch.equal(mean_attention(query, key, *given), mean_attention(query.float(), key.float(), *given))
    features = alike(100, dtype=dtype)
    assert torch.equal(most_diverse(features, 20), most_diverse(features.float(), 20))


@pytest.mark.parametrize("summary", [None, trained_summary(WIDTH)], ids=["mean", "trained"])
def test_summaries_pool_in_float32(summary: skipcore.AdaptiveSummary | None) -> None:
    group = alike(306, WIDTH)
    assert torch.equal(summarize(group, summary), summarize(group.float(), summary).bfloat16())


def test_a_plan_averages_in_float32() -> None:
    features = alike(400)
    destination = torch.cat([torch.arange(10), torch.zeros(300, dtype=torch.long), torch.full((90,), -1)])
    plan = ImagePlan(torch.arange(10), torch.arange(0), destination, weight=torch.rand(400))
    assert torch.equal(plan.merged(features), plan.merged(features.float()).bfloat16())


def test_tied_rows_are_averaged_in_float32() -> None:
    """What 300 places of one row attended to becomes one row again."""
    picture = PlacedPicture((Tile((1, 300)),), torch.arange(300))
    image = ImagePlan(torch.arange(300), torch.arange(0), torch.arange(300), False, ties=torch.zeros(300).long())
    plan = plan_sample(torch.ones(310, dtype=torch.bool), [picture], [image], 1)
    (rows,) = rows_of_layers([plan], text_attends_skipped=True)
    states = alike(310)
    assert rows.ties is not None
    assert torch.equal(rows.ties.means.of(states), rows.ties.means.of(states.float()).bfloat16())
    assert len(rows.ties.means.of(states)) == 11


def test_k_means_is_that_of_float64(deterministic: None) -> None:
    points = torch.nn.functional.normalize(torch.randn(200, 16), dim=-1)
    assert torch.equal(k_means(points, 7), k_means(points.double(), 7))


RUN: dict[str, Method] = {
    name: {**METHODS, **PEERS, **SEEING_PEERS}[name]
    for name in ("masked, trained summary", "DART", "Downsampled picture", "VisionZip", "SPIDER")
} | {"DyMU": DyMU((0.5, 0.5))}


@pytest.mark.parametrize("method", RUN)
def test_a_run_needs_no_operation_that_is_not_deterministic(method: str, deterministic: None) -> None:
    vlm = tiny_model("LLaVA")
    inputs = vlm.prepare(noise_picture(0), "What?").inputs
    with RUN[method](vlm.model):
        assert torch.equal(logits(vlm, inputs), logits(vlm, inputs))


def test_nothing_is_added_up_by_index() -> None:
    """On CUDA `index_add` and its kin add by atomics, in another order each time."""
    root = Path(skipcore.__file__).parent
    for path in [*root.glob("*.py"), *root.glob("methods/*.py"), *root.glob("families/*.py")]:
        code = path.read_text().replace("`index_add` adds by atomics", "")
        assert not any(name in code for name in ("index_add", "scatter_add", "accumulate=True")), path.name


@pytest.mark.parametrize("name", ["masked", "FastV", "DART", "VisionZip", "SPIDER"])
def test_what_is_chosen_under_autocast_is_compared_in_float32(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vlm, method = tiny_model("LLaVA"), {**METHODS, **PEERS, **SEEING_PEERS}[name]
    inputs = vlm.prepare(noise_picture(0), "What?").inputs
    products: list[torch.dtype] = []

    def noting(choose: Callable) -> Callable:
        def noted(*args: Any) -> Any:
            products.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
            return choose(*args)

        return noted

    for owner, function in ((type(method), "plan"), (type(method), "decide"), (looking, "mean_attention")):
        monkeypatch.setattr(owner, function, noting(getattr(owner, function)))
    for function in ("attention_of_class", "attention_received"):
        monkeypatch.setattr(tower, function, noting(getattr(tower, function)))
    with method(vlm.model), torch.autocast("cpu", torch.bfloat16):
        logits(vlm, inputs)
    assert set(products) == {torch.float32}
