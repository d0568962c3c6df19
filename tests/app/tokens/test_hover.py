"""What is told under the mouse: the words of the card, for every token and place in every layer; and what it weighs."""

from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import replace
from typing import Any

import hand_made
import numpy as np
import pytest
import torch
from every_method import CASES, trace_on
from PIL import Image

from app.tokens.hover import GONE, MOST_LEVELS, NO_FFN, codes_of, hover, hover_words, levels_of
from app.tokens.selection import marks_of
from app.tokens.token_card import merge_target, merges_sentence
from app.tokens.token_states import phrase, swatch
from app.wording import ROLE_NAMES
from profiling import Report
from skipcore import Role, Trace, Vlm
from skipcore.model.vlm import ShownTile
from skipcore.plan.image_plan import ImagePlan
from skipcore.plan.tiles import PlacedPicture, Tile
from skipcore.plan.token_plan import plan_sample
from skipcore.trace import trace_of

MOST = 80_000
EMPTY = '<div class="tip" aria-hidden="true" data-words= data-updates=></div>'


@pytest.fixture(params=CASES)
def trace(request: pytest.FixtureRequest, tiny: Vlm, picture: Image.Image) -> Trace:
    """Of every method: 64 tokens in 3 layers."""
    return trace_on(tiny, picture, CASES[request.param][0])


def report_of(trace: Trace, side: int = 8) -> Report:
    report = hand_made.report(hand_made.arm("a <method>", trace))
    return replace(report, tiles=((ShownTile((side, side), (0.0, 0.0, 1.0, 1.0)),),))


def deep(seed: int) -> Trace:
    """28 layers, 1,024 tokens: 256 retained, 256 skipped, 512 merged; updates that nothing foretells."""
    draw = torch.Generator().manual_seed(seed)
    order = torch.randperm(1024, generator=draw)
    retained, skipped = order[:256].sort().values, order[256:512].sort().values
    destination = torch.randint(512, (1024,), generator=draw)
    destination[torch.cat([retained, skipped])] = torch.arange(512)
    visual = torch.tensor([False] * 10 + [True] * 1024 + [False] * 20)
    placed = [PlacedPicture((Tile((32, 32)),), visual.nonzero().flatten())]
    sample = plan_sample(torch.ones_like(visual), placed, [ImagePlan(retained, skipped, destination)], 28)
    update = torch.randn(sample.runs_ffn.shape, generator=draw).exp() * 0.1
    return trace_of(sample, visual, torch.where(sample.runs_ffn, update, torch.nan), None, None, None)


def dense_and_deep() -> Trace:
    """As many tokens and layers, all running in full: the heaviest there is."""
    visual = torch.tensor([False] * 10 + [True] * 1024 + [False] * 20)
    placed = [PlacedPicture((Tile((32, 32)),), visual.nonzero().flatten())]
    sample = plan_sample(torch.ones_like(visual), placed, [ImagePlan.keep_all(1024)], 28)
    update = torch.randn(sample.runs_ffn.shape, generator=torch.Generator().manual_seed(1)).exp() * 0.1
    return trace_of(sample, visual, update, None, None, None)


def words_of(report: Report) -> dict[str, Any]:
    return hover_words(report, levels_of([arm.trace for arm in report.arms]))


def unpacked(markup: str, name: str) -> bytes:
    [packed] = re.findall(f'data-{name}="([^"]*)"', markup)
    return zlib.decompress(base64.b64decode(packed))


def history_of(arm: dict[str, Any], number: int, kind: dict[str, Any]) -> list[tuple[str, str]]:
    """Swatch and words in each layer, as the browser looks them up."""
    return [arm["marks"][mark] for mark in kind["histories"][kind["history"][number]]]


def test_a_token_is_told_in_the_words_of_its_card(trace: Trace) -> None:
    [arm] = words_of(report_of(trace))["arms"]
    for token in range(64):
        found = marks_of(trace, token)
        into = f"merged into {merge_target(trace, token)}" if trace.merged[token] else ""
        expected = [(swatch(mark), into if mark.merged else phrase(mark)) for mark in found]
        assert history_of(arm, token, arm["tokens"]) == expected
        said = arm["tokens"]["merges"][token]
        assert merges_sentence(trace, token).startswith(said) and bool(said) == bool(
            (trace.merged_into[trace.merged] == token).any()
        )


def test_a_place_is_told_by_role_and_by_what_its_token_does(trace: Trace) -> None:
    [arm] = words_of(report_of(trace))["arms"]
    assert arm["slot"].format(1) == f"slot 1 of {len(trace.slot_role)}"
    for slot, role in enumerate(trace.slot_role.tolist()):
        kind, words = arm["roles"][slot]
        name = ROLE_NAMES[Role(role)]
        assert kind == f"{name}-token" and words.startswith(name)
        history, token = history_of(arm, slot, arm), int(trace.slot_token[slot])
        if token >= 0:
            row, column = divmod(token, 8)
            assert words == f"{name} token, row {row + 1}, column {column + 1}"
            assert history == history_of(arm, token, arm["tokens"])
        else:
            gone = (~trace.entered[:, slot]).tolist()
            assert [words.startswith("dropped") for _, words in history] == gone


def test_updates_are_told_to_two_digits(trace: Trace) -> None:
    levels = levels_of([trace])
    assert 0 < len(levels) <= MOST_LEVELS
    codes, update = codes_of(trace, levels), trace.ffn_update.double().numpy()
    ran = np.isfinite(update)
    rounded = np.array([float(f"{value:.1e}") for value in update[ran]])
    assert np.allclose(levels[codes[ran] - 2], rounded, rtol=1e-9)
    assert (codes[~ran & trace.entered.numpy()] == NO_FFN).all() and (codes[~trace.entered.numpy()] == GONE).all()
    content = words_of(report_of(trace))
    [arm] = content["arms"]
    assert arm["updates"] == 0 and content["levels"][:2] == ["", "No FFN ran"]
    assert [float(words.rpartition(" ")[2]) for words in content["levels"][2:]] == levels.tolist()
    assert all(not re.search("nan|e-|e[+]", each) for each in content["levels"])


def test_more_updates_than_levels_are_told_by_the_nearest() -> None:
    trace = hand_made.trace(hand_made.DENSE)
    wide = replace(trace, ffn_update=torch.logspace(-6, 6, trace.ffn_update.numel()).reshape(trace.ffn_update.shape))
    assert len(levels_of([wide])) == wide.ffn_update.numel()
    many = torch.logspace(-6, 6, 3 * 400).reshape(3, 400)
    there = torch.ones(3, 400, dtype=torch.bool)
    wide = replace(trace, ffn_update=many, ran_ffn=there, entered=there)
    levels = levels_of([wide])
    assert len(levels) == MOST_LEVELS
    assert (np.abs(levels[codes_of(wide, levels) - 2] / many.numpy() - 1) < 0.25).all()


def test_an_update_of_nothing_is_a_level_of_its_own() -> None:
    trace = hand_made.trace(hand_made.DENSE)
    still = replace(trace, ffn_update=torch.zeros_like(trace.ffn_update))
    assert levels_of([still]).tolist() == [0.0] and (codes_of(still, levels_of([still])) == 2).all()


def test_pictures_are_told_apart() -> None:
    content = words_of(hand_made.report(pictures=2))
    assert content["tokens"][11] == "Row 2, column 3, picture 2 of 2"
    assert [np.cumsum(steps).tolist() for steps in content["grids"]] == [list(range(6)), list(range(6, 12))]


def test_what_was_not_recorded_is_said() -> None:
    content = words_of(hand_made.report(hand_made.arm("Dense", hand_made.trace(hand_made.DENSE, recorded=False))))
    assert content["arms"][0]["updates"] is None and content["unknown"] == "FFN update not recorded"


def test_the_words_travel_packed_and_need_no_escape() -> None:
    report = hand_made.report()
    markup = hover(report)
    words, codes = (unpacked(markup, name) for name in ("words", "updates"))
    levels = levels_of([arm.trace for arm in report.arms])
    assert json.loads(words) == json.loads(json.dumps(hover_words(report, levels)))
    assert re.sub(r'"[A-Za-z0-9+/]{20,}=*"', "", markup) == EMPTY
    dense, skip = report.arms
    first = hover_words(report, levels)["arms"][1]["updates"]
    assert codes[:first] == codes_of(dense.trace, levels).tobytes()
    assert codes[first:] == codes_of(skip.trace, levels).tobytes()


def test_a_deep_model_and_many_tokens_stay_light() -> None:
    arms = hand_made.report().arms
    deep_arms = [replace(arm, trace=trace) for arm, trace in zip(arms, (dense_and_deep(), deep(0)), strict=True)]
    report = replace(hand_made.report(*deep_arms), tiles=((ShownTile((32, 32), (0.0, 0.0, 1.0, 1.0)),),))
    weight = len(hover(report))
    print(f"{weight / 1000:.0f} kB")
    assert weight <= MOST
