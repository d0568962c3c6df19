"""Charts, their tables and sentences: the numbers of the report and no others."""

from __future__ import annotations

import json
from dataclasses import replace

import hand_made
import numpy as np
import pytest
from every_method import CASES, trace_on
from PIL import Image

from app import palette, wording
from app.charts.kv_bytes import kv_by_layer, kv_sentence, kv_table
from app.charts.layer_load import rows_by_layer, rows_of, rows_table
from app.charts.medians import medians_of, medians_sentence, medians_table, update_medians
from app.charts.phases import phases, phases_table
from app.charts.timeline import timeline
from app.panels.answers import LiveAnswer, answer_card, headline
from app.panels.tokens import counts_table, describe
from app.tokens.overlay import View
from app.tokens.update_map import update_key, update_maps
from profiling import Report
from skipcore import Dense, Vlm
from skipcore.methods import FastV

ALL = [
    update_medians,
    rows_by_layer,
    kv_by_layer,
    timeline,
    phases,
]


def named(figure, name: str) -> list:
    return [part for part in figure.data if part.name == name]


@pytest.mark.parametrize("draw", ALL)
def test_figures_follow_the_theme_and_keep_their_view(draw) -> None:
    figure = draw(hand_made.report())
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert figure.layout.uirevision == "kept"
    assert len(json.dumps(json.loads(figure.to_json()))) < 20_000


@pytest.mark.parametrize("draw", ALL)
def test_two_pictures_and_a_one_token_answer(draw) -> None:
    short = {"tpot_ms": None, "decode_tokens_per_s": None, "new_tokens": 1}
    arms = [
        hand_made.arm("Dense", hand_made.trace(hand_made.DENSE, 2), **short),
        hand_made.arm("Skip-Vision", hand_made.trace(hand_made.SKIPPING, 2), **short),
    ]
    arms = [replace(arm, spread={n: s for n, s in arm.spread.items() if n != "tpot_ms"}) for arm in arms]
    assert draw(hand_made.report(*arms, pictures=2)) is not None


def test_what_was_not_recorded_has_no_map() -> None:
    arms = [hand_made.arm("Dense", hand_made.trace(hand_made.DENSE, recorded=False))]
    report = hand_made.report(*arms)
    assert all("not available" in each for each in update_maps(report)) and update_medians(report) is None
    assert "not available" in medians_table(report) and "not available" in medians_sentence(report)


def test_medians_group_the_dense_run_by_the_roles_of_skip_vision() -> None:
    report = hand_made.report()
    dense, skip = (medians_of(report, arm) for arm in report.arms)
    update = report.arms[0].trace.ffn_update.numpy()  # slot = 1 + token
    assert np.allclose(dense["retained"], np.median(update[:, [1, 6]], axis=1))
    assert np.allclose(dense["merged"], np.median(update[:, [3, 4]], axis=1))
    assert np.allclose(dense["text"], np.median(update[:, [0, 7, 8]], axis=1))
    assert np.isnan(skip["skipped"]).all() and np.isnan(skip["merged"]).all()
    names = [part.name for part in update_medians(report).data]
    assert names == ["retained", "skipped", "merged", "text", "retained", "text"]
    assert medians_table(report).count("no FFN") == 2 * hand_made.LAYERS


def test_kv_shows_measured_beside_predicted() -> None:
    dense = hand_made.arm("Dense", hand_made.trace(hand_made.DENSE), layer_kv_bytes_predicted=(1, 2, 3))
    report = hand_made.report(dense)
    bars, markers = kv_by_layer(report).data
    assert tuple(bars.customdata) == dense.layer_kv_bytes and tuple(markers.customdata) == (1, 2, 3)
    assert bars.marker.color == palette.INK
    assert "2 B" in kv_table(report)


def test_kv_sentence_tells_a_miss() -> None:
    missed = hand_made.arm("Dense", hand_made.trace(hand_made.DENSE), kv_bytes_predicted=2_000)
    assert "predicted 2 kB" in kv_sentence(hand_made.report(missed))
    assert kv_sentence(hand_made.report()).count("as predicted to the byte") == 2


def test_latency_is_what_was_measured() -> None:
    report = hand_made.report()
    vision, prefill, decode = timeline(report).data
    assert list(vision.x) == [40, 40] and list(prefill.x) == [60, 30] and list(decode.x) == [16, 16]
    bars = [part for part in phases(report).data if part.type == "bar"]
    assert [bar.y[0] for bar in bars] == [40, 60, 30, 4, 4]
    assert bars[1].error_y.array[0] == 6 and bars[1].error_y.arrayminus[0] == 1


def test_one_run_has_no_whisker() -> None:
    from profiling import Spread

    spread = {name: Spread.of([4.0]) for name in ("vision_ms", "prefill_ms", "ttft_ms", "tpot_ms")}
    report = hand_made.report(hand_made.arm("Dense", hand_made.trace(hand_made.DENSE), spread=spread))
    assert all(part.type == "bar" and part.error_y.array is None for part in phases(report).data)


def test_none_is_not_zero() -> None:
    table = phases_table(hand_made.report())
    assert table.count("not available") == 5  # peak memory and energy of two arms, and the reason
    assert "the runs were on the &lt;CPU&gt;" in table
    assert wording.milliseconds(None) == wording.size(None) == wording.pace(None) == "not available"


@pytest.mark.parametrize(
    "said, expected",
    [
        (wording.milliseconds(7.34), "7.3 ms"),
        (wording.milliseconds(1234.0), "1.23 s"),
        (wording.size(2_408_448), "2.41 MB"),
        (wording.size(12), "12 B"),
        (wording.operations(1_710_163_968), "1.71 GFLOP"),
        (wording.change(0.531), "−53%"),
        (wording.change(-0.08), "+8%"),
        (wording.change(0.001), "±0%"),
        (wording.share(0.87), "87%"),
        (wording.pace(314.99), "315 tokens/s"),
    ],
)
def test_wording(said: str, expected: str) -> None:
    assert said == expected


def test_the_headline_says_what_was_saved() -> None:
    text = headline(hand_made.report())
    assert "The same answer, its first token 30% sooner" in text
    assert "saves 75% of the prefill FLOPs, and 67% of that saving became time" in text
    for number in ("−50%", "−75%", "67%"):
        assert number in text


def test_the_headline_is_honest_about_losses() -> None:
    dense, trace = hand_made.arm("Dense", hand_made.trace(hand_made.DENSE)), hand_made.trace(hand_made.SKIPPING)
    slower = hand_made.arm("Skip-Vision", trace, prefill_ms=66.0, ttft_ms=106.0, flops_prefill=500_000_000, answer="no")
    text = headline(hand_made.report(dense, slower))
    assert "A different answer, its first token 6% later" in text and "none of that became time" in text
    useless = hand_made.arm("Skip-Vision", trace)
    assert "No prefill FLOPs were saved" in headline(hand_made.report(dense, useless))
    assert "nothing to compare" in headline(hand_made.report(dense))


def test_an_answer_is_text_and_never_markup() -> None:
    card = answer_card(LiveAnswer.of(hand_made.report().arms[0]), 0)
    assert "a red &lt;circle&gt;" in card and "<circle>" not in card
    assert "an empty answer" in answer_card(LiveAnswer("Dense", done=True), 0)
    assert "–" in answer_card(LiveAnswer("Dense"), 0)


def test_the_overlay_is_told_in_words_too() -> None:
    report = hand_made.report()
    dense, skip = (arm.trace for arm in report.arms)
    assert describe(skip, View.STATE, 0) == (
        "Layer 1, 6 visual tokens: 2 running in full; 2 skipping the FFN, dropped from the KV cache; "
        "2 merged into others."
    )
    assert describe(dense, View.STATE, 1) == "Layer 2, 6 visual tokens: 6 running in full."
    assert "2 tokens are merged, each along a line into one of 2" in describe(skip, View.MERGES, 0)
    assert describe(skip, View.UPDATE, 2).startswith("Layer 3: the FFN ran for 2 of 6")
    assert "not recorded" in describe(hand_made.trace(hand_made.DENSE, recorded=False), View.UPDATE, 0)
    assert counts_table(report).count("<td>2</td><td>2</td><td>2</td>") == hand_made.LAYERS


@pytest.fixture
def dropping(tiny: Vlm, picture: Image.Image) -> Report:
    """Dense beside FastV, which keeps 16 of 64 visual tokens from the second layer on."""
    dense, fastv = (trace_on(tiny, picture, method) for method in (Dense(), FastV(1, 0.25)))
    return hand_made.report(hand_made.arm("Dense", dense), hand_made.arm("FastV 25% after 1 layer", fastv))


def test_rows_of_every_layer_as_chart_and_table(dropping: Report) -> None:
    prompt = len(dropping.arms[0].trace.slot_role)
    assert rows_of(dropping.arms[1].trace) == {
        does: [prompt, prompt - 48, prompt - 48]
        for does in ("enter the layer", "attend", "run the FFN", "stay in the KV cache")
    }
    figure = rows_by_layer(dropping)
    for part in figure.data:
        assert list(part.y) == ([prompt] * 3 if part.name == "Dense" else [prompt, prompt - 48, prompt - 48])
    assert len(figure.data) == 8
    assert rows_table(dropping).count(f"<td>{prompt - 48}</td>") == 8
    skipping = rows_of(hand_made.report().arms[1].trace)
    assert skipping["attend"] == skipping["enter the layer"] == [9] * 3
    assert skipping["run the FFN"] == skipping["stay in the KV cache"] == [7] * 3


def test_the_key_to_the_map_names_what_occurs(dropping: Report) -> None:
    key = update_key(dropping)
    assert "dropped" in key and "no FFN" not in key and "skipped" not in key
    assert "dropped" not in update_key(hand_made.report())


def test_medians_of_what_was_dropped(dropping: Report) -> None:
    dense, fastv = (medians_of(dropping, arm) for arm in dropping.arms)
    assert list(dense) == ["retained", "dropped", "text"]
    gone = dropping.arms[1].trace.token_slot[~dropping.arms[1].trace.entered[2, dropping.arms[1].trace.token_slot]]
    assert len(gone) == 48
    assert np.allclose(dense["dropped"], np.median(dropping.arms[0].trace.ffn_update[:, gone], axis=1))
    assert np.isnan(fastv["dropped"]).tolist() == [False, True, True]
    assert medians_table(dropping).count("<td>–</td>") == 2
    sentence = medians_sentence(dropping)
    assert "retained with FastV 25% after 1 layer by " in sentence and "dropped ones by" in sentence


def test_layers_that_keep_unlike_parts_of_the_cache_say_so(dropping: Report) -> None:
    bars = [part for part in kv_by_layer(dropping).data if part.type == "bar"]
    assert tuple(bars[1].customdata) == dropping.arms[1].layer_kv_bytes
    assert bars[1].customdata[0] > bars[1].customdata[1]
    dense, fastv = kv_sentence(dropping).split("; ")
    assert "a layer" not in dense and "a layer), as predicted" in fastv


@pytest.mark.parametrize("name", CASES)
def test_every_method_has_all_its_charts(tiny: Vlm, picture: Image.Image, name: str) -> None:
    arms = [trace_on(tiny, picture, method) for method in (Dense(), CASES[name][0])]
    report = hand_made.report(hand_made.arm("Dense", arms[0]), hand_made.arm(name, arms[1], faster=2.0))
    for draw in ALL:
        assert draw(report).to_json()
    for text in (medians_sentence(report), kv_sentence(report), counts_table(report), medians_table(report)):
        assert text and "nan" not in text
