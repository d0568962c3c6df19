"""Published figures of the peers, found again in the running model: true depth, true number of visual tokens."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from shared_models import noise_picture
from tiny_families import tiny_model

from profiling.bench.random_models import DecoderSize, random_llava
from profiling.predict.prefill_flops import predict_prefill_flops
from skipcore import Dense, Method, Trace, Vlm
from skipcore.flops import FlopCount
from skipcore.methods import (
    DART,
    SPIDER,
    VTW,
    DivPrune,
    Downsampled,
    FastV,
    OpSkip,
    PyramidDrop,
    RandomTokens,
    ShortV,
    TransPrune,
    UniformGrid,
    V2Drop,
    VisionZip,
    div_prune,
)
from skipcore.methods.div_prune import most_diverse

LAYERS, TOKENS = 32, 576

ENTERING: dict[Method, list[int]] = {
    Dense(): [576] * 32,
    FastV(): [576] * 3 + [288] * 29,
    PyramidDrop(): [576] * 8 + [288] * 8 + [144] * 8 + [72] * 8,
    VisionZip(): [191 + 30] * 32,
    DivPrune(0.098): [56] * 32,
    DART(): [576] * 2 + [288] * 30,
    V2Drop(): [576] * 3 + [288] * 14 + [144] * 5 + [1] * 10,
    VTW(): [576] * 16 + [0] * 16,
    ShortV(): [576] * 32,
    OpSkip(): [576] * 32,
    TransPrune(): [576] * 7 + [504] * 2 + [360] * 3 + [72] * 20,
    SPIDER(): [288] * 32,
    RandomTokens(): [144] * 32,
    UniformGrid(): [144] * 32,
    Downsampled(): [12 * 12] * 32,
}
"""How many visual tokens enter each layer: under the authors' settings, where a method has any."""


@pytest.fixture(scope="module")
def deep() -> Vlm:
    return random_llava(DecoderSize(16, LAYERS, 2, 1, intermediate_size=16), patch_size=14, vision_width=16)


@pytest.mark.parametrize("method", ENTERING, ids=lambda method: method.name)
def test_as_many_tokens_enter_each_layer_as_published(deep: Vlm, method: Method) -> None:
    """Counted off the tensors in the layers, and off those in the cache; FLOPs are those predicted."""
    prepared = deep.prepare(noise_picture(0), "hm?")
    inputs, text = prepared.with_features(deep.encode(prepared, method)), prepared.num_tokens - TOKENS
    with method(deep.model, record=True) as session, torch.inference_mode(), FlopCount() as flops:
        cache = deep.model(**inputs, use_cache=True, logits_to_keep=1).past_key_values
    expected = [text + count for count in ENTERING[method]]
    assert session.trace.counts[:, 0].tolist() == expected
    assert [layer.keys.shape[-2] for layer in cache.layers] == expected
    assert flops.total == predict_prefill_flops(deep, method, session.trace).total


def trace_of(vlm: Vlm, method: Method) -> Trace:
    inputs = vlm.prepare(noise_picture(0), "hm?").inputs
    with method(vlm.model, record=True) as session, torch.inference_mode():
        vlm.model(**inputs)
    return session.trace


def test_fastv_saves_what_its_paper_says(deep: Vlm) -> None:
    """4nd² + 2n²d + 2ndm multiply–adds a layer of LLaVA-1.5-7B, n being the visual tokens that enter it: 54%."""
    width, ffn_width = 4096, 11008

    def cost(tokens: int) -> int:
        return 4 * tokens * width**2 + 2 * tokens**2 * width + 2 * tokens * width * ffn_width

    trace = trace_of(deep, FastV(3, 0.5))
    tokens = (trace.entered & (trace.slot_token >= 0)).sum(dim=1).tolist()
    assert sum(map(cost, tokens)) / (LAYERS * cost(TOKENS)) == pytest.approx(0.54, abs=0.005)


def test_fastv_runs_no_layer_twice(deep: Vlm) -> None:
    """As the authors' and others' code does to the layer before the drop, which then stores its keys twice."""
    calls: Counter[int] = Counter()
    handles = [
        layer.self_attn.register_forward_pre_hook(lambda *_, number=number: calls.update([number]))
        for number, layer in enumerate(deep.model.get_decoder().layers)
    ]
    trace_of(deep, FastV())
    for handle in handles:
        handle.remove()
    assert calls == dict.fromkeys(range(LAYERS), 1)


def test_pyramid_drop_keeps_less_than_half(deep: Vlm) -> None:
    assert trace_of(deep, PyramidDrop()).visual_tokens / TOKENS == pytest.approx(0.469, abs=0.0005)


def test_shortv_freezes_nineteen_layers(deep: Vlm) -> None:
    trace = trace_of(deep, ShortV())
    text = int((trace.slot_token < 0).sum())
    assert trace.counts[:, 1].tolist() == trace.counts[:, 2].tolist() == [text + TOKENS] * 13 + [text] * 19


def test_vtw_leaves_text_alone_after_half_of_the_layers(deep: Vlm) -> None:
    assert trace_of(deep, VTW(15)).visual_tokens == TOKENS * 15 / LAYERS


@pytest.mark.parametrize("pool", [1, 7, 40])
def test_div_prune_chooses_the_same_from_a_pool(monkeypatch: pytest.MonkeyPatch, pool: int) -> None:
    """As one token after the other against all, also among tokens that are alike."""
    torch.manual_seed(0)
    features = torch.randn(20, 16)[torch.randint(0, 20, (90,))] + 0.3 * torch.randn(90, 16)
    features[50:60] = features[3]
    expected = most_diverse(features, 60)
    monkeypatch.setattr(div_prune, "POOL", pool)
    assert torch.equal(most_diverse(features, 60), expected) and len(expected.unique()) == 60


def test_div_prune_s_products_are_predicted_with_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(div_prune, "POOL", 24)
    vlm, method = tiny_model("LLaVA"), DivPrune(0.4)
    prepared = vlm.prepare(noise_picture(0), "What?")
    inputs = prepared.with_features(vlm.encode(prepared))
    with torch.inference_mode(), method(vlm.model) as session, FlopCount() as count:
        vlm.model(**inputs, use_cache=True, logits_to_keep=1)
    assert count.total == predict_prefill_flops(vlm, method, session.trace).total
