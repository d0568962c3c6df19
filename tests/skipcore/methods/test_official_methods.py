"""Law 7: outputs of the peers' authors' own code, and of Skip-Vision's for two more settings; every array of
tests/data/official_methods is read."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from official_methods import BEFORE, DATA, WIDTH, Inputs, arrays, close, draw, entering, model, pixels, run, vlm
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from skipcore import AdaptiveSummary, Method, Role, SkipVision
from skipcore.answering.agreement import DenseAnswer, log_probs_along
from skipcore.calibration.contribution import contributions
from skipcore.engine.encoding import remember
from skipcore.methods import DART, VTW, Dense, DivPrune, DyMU, FastV, PyramidDrop, ShortV, V2Drop, VisionZip
from skipcore.methods.div_prune import most_diverse
from skipcore.plan.image_plan import VisualTokens
from skipcore.plan.tower_view import TowerLook, TowerView
from skipcore.tower.blocks import Tower
from skipcore.tower.observer import look_at_tower
from skipcore.tower.tower_merge import TowerMerging

STAGES = (6, 12, 18), (0.5, 0.25, 0.125)
FREEZING = [int(layer) for layer in arrays("shortv", "s0_")["replaced"]]

DECODING: dict[str, tuple[str, str, Method]] = {
    "FastV, half": ("fastv", "k3_r05_s0_", FastV(3, 0.5)),
    "FastV, a quarter": ("fastv", "k2_r075_s0_", FastV(2, 0.25)),
    "V²Drop": ("v2drop", "s0_", V2Drop((3, 17, 22), (0.5, 0.25, 1))),
    "VTW, positions kept": ("vtw", "keep_s0_", VTW(15)),
    "VTW, positions reset": ("vtw", "reset_s0_", VTW(15, positions="renumbered")),
    "ShortV": ("shortv", "s0_", ShortV(len(FREEZING), FREEZING)),
    "PyramidDrop": ("pyramid_drop", "renumbered_s0_", PyramidDrop(*STAGES, positions="renumbered")),
    "PyramidDrop, positions kept": ("pyramid_drop", "original_s0_", PyramidDrop(*STAGES)),
    "DivPrune": ("div_prune_positions", "renumbered_s0_", DivPrune(56, positions="renumbered")),
    "DivPrune, positions kept": ("div_prune_positions", "original_s0_", DivPrune(56)),
}


@pytest.mark.parametrize("name", DECODING)
def test_prefill_and_decode(name: str) -> None:
    """The same tokens enter each layer, and the logits of the prompt and of three decoded tokens agree."""
    file, start, method = DECODING[name]
    expected, inputs = arrays(file, start), Inputs()
    logits, trace, stored = run(method, inputs.encoded(), inputs.decoded)
    for key, value in expected.items():
        if key == "logits":
            close(logits, value)
        elif key.startswith("kept"):
            assert entering(trace, int(key.removeprefix("kept"))) == value.tolist()
        elif key == "chosen":
            assert entering(trace, 0) == value.tolist()
        elif key == "cache":
            assert stored == value.tolist()
        else:
            assert key in ("replaced", "lc")  # `test_layer_contributions`


def test_layer_contributions() -> None:
    """KL(frozen ‖ dense) of each layer alone, at the prompt's last token."""
    expected, inputs, llava = arrays("shortv", "s0_"), Inputs().encoded(), vlm()
    asked = [DenseAnswer(inputs, [0], log_probs_along(llava, inputs, Dense(), [0]))]
    found = contributions(llava, asked)
    close(torch.tensor(found), expected["lc"])


# Choices


@pytest.mark.parametrize("name", ["clusters", "random", "smooth"])
def test_div_prune_chooses_in_the_authors_order(name: str) -> None:
    random = np.random.RandomState(0)
    if name == "clusters":
        features = Inputs().features
    elif name == "random":
        features = torch.from_numpy(random.standard_normal((576, WIDTH)).astype(np.float32))
    else:
        walk = np.cumsum(random.standard_normal((576, WIDTH)), 0) * 0.2
        features = torch.from_numpy((walk + random.standard_normal((1, WIDTH)) * 5).astype(np.float32))
    expected = arrays("div_prune")[f"{name}_chosen"].tolist()
    assert most_diverse(features, round(0.098 * 576)).tolist() == expected
    plan = DivPrune(0.098).plan(VisualTokens(features, ((24, 24),)))
    assert plan.retained.tolist() == sorted(expected)


def test_dart_takes_the_authors_pivots_in_their_turns() -> None:
    """Their 4 + 8 · 16 tokens: the visual pivots count."""
    expected, inputs, seen = arrays("dart", "s0_"), Inputs(), []
    pivots = DART.pivots

    def noting(*args: object) -> tuple[Tensor, list[int]]:
        seen.append((args[1], pivots(*args)))  # type: ignore[arg-type]
        return seen[-1][1]

    with patch.object(DART, "pivots", noting):
        _, trace, _ = run(DART(num_kept=132), inputs.encoded(), inputs.decoded)
    ((norms, (visual, turns)),) = seen
    assert turns == expected["order"].tolist()
    assert [int(place) - BEFORE for place in visual] == expected["image_pivots"].tolist()
    assert norms[expected["text_pivots"].long()].argsort(descending=True).tolist() == [0, 1, 2, 3]
    assert sorted(set(turns) - set(visual.tolist())) == sorted(expected["text_pivots"].tolist())
    assert entering(trace, 2) == expected["kept"].tolist()


# The vision tower


@pytest.mark.parametrize("dominant, contextual", [(54, 10), (191, 30)])
def test_vision_zip(dominant: int, contextual: int) -> None:
    """The authors count the class token among the dominant ones, and sum where we average."""
    expected, llava = arrays("vision_zip", f"d{dominant}_c{contextual}_s0_"), model()
    method = VisionZip(dominant - 1, contextual)
    with torch.inference_mode(), method.at_tower(llava) as recorder:
        features = llava.model.get_image_features(pixel_values=pixels(0), return_dict=True).pooler_output[0]
    assert recorder is not None
    plan = method.plan(VisualTokens(features, ((24, 24),), recorder.rows().at(torch.arange(1, 577)[:, None])))
    weights = torch.zeros(576) if plan.weight is None else plan.weight
    sizes = plan.destination.bincount()
    is_target = sizes[torch.arange(len(plan.retained))] > 1
    assert is_target.sum() == contextual and (weights > 0).all()
    assert plan.retained[~is_target].tolist() == expected["dominant"].tolist()
    close(2 * plan.merged(features)[is_target], expected["contextual"], 1e-4)


@pytest.mark.parametrize("rate", [504, 384])
def test_dymu_merges_in_the_tower(rate: int) -> None:
    """As many rows after each block, the same groups, listed in the same order, and their features."""
    expected, llava = arrays("dymu_tower", f"r{rate}_s0_"), model()
    tower, thresholds = Tower(llava), expected["thresholds"].tolist()
    method, left, rows_of = DyMU(thresholds[: tower.last + 1]), [], []
    merging = TowerMerging(tower, method.thresholds, 0.0, True)

    def note(*_: object) -> None:
        left.append(len(merging.listed))
        place = torch.empty(577, dtype=torch.int32)
        place[merging.listed] = torch.arange(left[-1], dtype=torch.int32)
        rows_of.append(place[merging.groups])

    hooks = [block.register_forward_hook(note) for block in tower.blocks[: tower.last + 1]]
    looks = frozenset({TowerLook.GROUPS, TowerLook.DEEP})
    with torch.inference_mode(), look_at_tower(llava, looks, merging) as recorder:
        llava.model.get_image_features(pixel_values=pixels(0), return_dict=True)
    for hook in hooks:
        hook.remove()
    assert recorder is not None and recorder.rows().deep is not None
    assert left == expected["ntok"].tolist()[: tower.last + 1]
    for block, key in ((0, "group0"), (1, "group1"), (tower.last, "group")):
        assert torch.equal(rows_of[block], expected[key])
    close(recorder.rows().deep, expected["hidden"][expected["group"].long()], 5e-5)


@pytest.mark.parametrize("rate", [504, 384])
def test_dymu_finds_the_first_threshold(rate: int) -> None:
    """One picture a batch, 1 / 24 of the rate in each block. Only the first block's scores do not depend on the
    order in which the finder lists what it has merged: that of an unstable sort, which is not defined."""
    expected, llava = arrays("dymu_tower", f"r{rate}_s0_")["thresholds"], model()
    found = []
    for seed in (10, 11, 12):
        merging = TowerMerging(Tower(llava), None, rate / 24 / 577, True)
        with torch.inference_mode(), look_at_tower(llava, frozenset({TowerLook.GROUPS}), merging):
            llava.model.get_image_features(pixel_values=pixels(seed), return_dict=True)
        found.append(merging.found[0])
    close(torch.tensor(found).mean(), expected[0])


@pytest.mark.parametrize("form", ["fast", "exact"])
def test_dymu_unmerges_in_the_decoder(form: str) -> None:
    """Ours is the fast form; the exact one of the authors is the same by value."""
    expected, inputs = arrays("dymu_decoder", f"{form}_s0_"), Inputs()
    group = torch.from_numpy(np.random.RandomState(7000).randint(0, 90, 576))
    first = torch.stack([(group == each).nonzero()[0, 0] for each in group])
    numbers = {int(place): number for number, place in enumerate(first.unique())}
    assert [numbers[int(place)] for place in first] == expected["group"].tolist()
    features = BaseModelOutputWithPooling(pooler_output=[inputs.features[first]])
    rows = torch.cat([torch.tensor([0]), first + 1])  # the class token is the tower's first row
    remember(features, {}, TowerView(groups=rows))
    encoded = {"input_ids": inputs.ids, "mm_encoder_outputs": {"image": features}}
    decoded = inputs.decoded[: len(expected["logits"]) - 1]
    logits, trace, _ = run(DyMU((0.0,) * 23), encoded, decoded)
    assert int(trace.ran_ffn[0].sum()) == len(numbers) + BEFORE + 20
    close(logits, expected["logits"])


# Skip-Vision's other settings


def _summary() -> AdaptiveSummary:
    summary = AdaptiveSummary(WIDTH)
    summary.score.weight.data.copy_(draw("ada", (1, WIDTH), 0.3))
    return summary.requires_grad_(False)


@pytest.mark.parametrize(
    "file, start, setting, adaptive, blind, tokens, stored",
    [
        ("skip_vision_cos", "summary0_s0_", "cos", False, False, 1296, 272 + 1 + 2),
        ("skip_vision_cos", "summary1_s0_", "cos", True, False, 1296, 272 + 1 + 2),
        ("skip_vision_cos_masked", "s0_", "cos", False, True, 1296, 272 + 1 + 2),
        ("skip_vision_hd", "summary0_s0_", "llava-hd", False, False, 1764, 576 + 2),
        ("skip_vision_hd", "summary1_s0_", "llava-hd", True, False, 1764, 576 + 2),
    ],
)
def test_skip_vision(
    file: str, start: str, setting: str, adaptive: bool, blind: bool, tokens: int, stored: int
) -> None:
    """Of CoS the last skipped token stays in the cache, and blind text sees it."""
    method = SkipVision.paper(setting)  # type: ignore[arg-type]
    method = replace(method, text_attends_skipped=not blind, summary=_summary() if adaptive else None)
    inputs = Inputs(num_features=tokens)
    logits, trace, kept = run(method, inputs.encoded(), inputs.decoded)
    close(logits, arrays(file, start)["logits"])
    assert kept == [BEFORE + stored + 20 + 3] * 24
    assert int((trace.slot_role == Role.SKIPPED).sum()) == (255 if setting == "cos" else 576)


def test_every_array_is_compared() -> None:
    """What the tests above read is all there is."""
    with_prefix = {(file, start) for file, start, _ in DECODING.values()} | {
        ("dart", "s0_"),
        ("div_prune", ""),
        *(("dymu_tower", f"r{rate}_s0_") for rate in (504, 384)),
        *(("dymu_decoder", f"{form}_s0_") for form in ("fast", "exact")),
        *(("vision_zip", f"{name}_s0_") for name in ("d54_c10", "d191_c30")),
        *(("skip_vision_cos", f"summary{number}_s0_") for number in (0, 1)),
        *(("skip_vision_hd", f"summary{number}_s0_") for number in (0, 1)),
        ("skip_vision_cos_masked", "s0_"),
    }
    for path in DATA.glob("*.npz"):
        of_file = [arrays(file, start) for file, start in with_prefix if file == path.stem]
        assert sum(map(len, of_file)) == len(arrays(path.stem)), path.stem
