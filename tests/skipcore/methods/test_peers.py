"""The peers against a slow reference of full attention matrices, on every family."""

from __future__ import annotations

import peer_reference
import pytest
import torch
from family_methods import COMBINED, PEERS, SEEING_PEERS
from model_runs import logits
from shared_models import noise_picture
from tiny_families import BUILDERS, LAYERS, tiny_model
from transformers import DynamicCache

from skipcore import Method, Role, Vlm
from skipcore.engine.prompts import read_prompts
from skipcore.methods import (
    DART,
    SPIDER,
    VTW,
    Combined,
    DivPrune,
    Downsampled,
    FastV,
    PyramidDrop,
    RandomTokens,
    ShortV,
    UniformGrid,
    V2Drop,
    VisionZip,
)
from skipcore.trace import Trace

QUESTION = "What color is it?"
MORE = torch.tensor([[70, 80, 90, 100]])


MUCH_ALIKE = {"Qwen2-VL", "Qwen3-VL-MoE", "Idefics3", "Mistral 3", "GLM-4.5V", "GLM-4.6V"}
"""Families that differ from one of the others by nothing that a peer sees: they need no slow reference of their own."""


@pytest.fixture(params=BUILDERS)
def vlm(request: pytest.FixtureRequest) -> Vlm:
    return tiny_model(request.param)


@pytest.fixture(params=[name for name in BUILDERS if name not in MUCH_ALIKE])
def distinct(request: pytest.FixtureRequest) -> Vlm:
    return tiny_model(request.param)


EVERY_PEER = {**PEERS, **SEEING_PEERS}


@pytest.fixture(params=EVERY_PEER)
def method(request: pytest.FixtureRequest) -> Method:
    return EVERY_PEER[request.param]


def there(trace: Trace, layer: int) -> set[int]:
    """The visual tokens that entered a layer, as places of the prompt."""
    is_visual = (trace.slot_role == Role.RETAINED) | (trace.slot_role == Role.SKIPPED)
    return set(trace.slot_source[trace.entered[layer] & is_visual].tolist())


def test_equals_the_slow_reference(distinct: Vlm, method: Method) -> None:
    """The same tokens stay in each layer, and text ends in the same states."""
    assert_equals_the_reference(distinct, method, [noise_picture(0), noise_picture(5, 40, 60)])


def assert_equals_the_reference(vlm: Vlm, method: Method, pictures: list) -> Trace:
    inputs = vlm.prepare(pictures, QUESTION).inputs
    expected, expected_there = peer_reference.run(vlm, inputs, method, inputs["input_ids"].shape[1])
    with method(vlm.model) as session, torch.inference_mode():
        actual = vlm.model.base_model(**inputs).last_hidden_state[0]
    assert [there(session.trace, layer) for layer in range(LAYERS)] == expected_there
    text = ~read_prompts(vlm.family, vlm.model.config, inputs).visual[0]
    torch.testing.assert_close(actual[text], expected[text], rtol=0, atol=1e-5)
    return session.trace


@pytest.mark.parametrize("calibrated", [False, True])
def test_spider_skips_token_by_token(distinct: Vlm, calibrated: bool) -> None:
    """With a head that is sure of some tokens, more and more of them skip, and never all."""
    kl = {"ffn_kl": (0.5, 0.1, 0.4), "attention_kl": (0.2, 0.3, 0.3)} if calibrated else {}
    method = SPIDER(0.5, clusters=3, threshold=2.0 + calibrated, last_layer=2, **kl)
    head = distinct.model.get_output_embeddings()
    sure = head.register_forward_hook(lambda module, args, logits: 40 * logits)
    try:
        trace = assert_equals_the_reference(distinct, method, [noise_picture(0)])
    finally:
        sure.remove()
    is_visual = trace.slot_role == Role.RETAINED
    (first, later), runs = (0, 1), trace.ran_attention[:, is_visual].sum(dim=1)
    if calibrated:  # the FFN is what layer 1 skips
        runs[later] = trace.ran_ffn[later, is_visual].sum()
    assert int(is_visual.sum()) > runs[first] >= runs[later] == runs[2]


@pytest.mark.parametrize("at_once", [1, 4])
def test_decoding_sees_what_each_layer_kept(distinct: Vlm, method: Method, at_once: int) -> None:
    """Caches of other lengths in each layer: decoded tokens end as if all were read at once under full masks."""
    inputs = distinct.prepare(noise_picture(0), QUESTION).inputs
    together = dict(inputs)
    for key, filler in (("input_ids", None), ("attention_mask", 1), ("mm_token_type_ids", 0), ("token_type_ids", 0)):
        if key in together:
            together[key] = torch.cat([inputs[key], MORE if filler is None else torch.full_like(MORE, filler)], dim=1)
    expected, _ = peer_reference.run(distinct, together, method, inputs["input_ids"].shape[1])
    expected = distinct.model.get_output_embeddings()(expected[-len(MORE[0]) :])
    with method(distinct.model), torch.inference_mode():
        cache = DynamicCache(config=distinct.model.get_decoder().config)
        distinct.model(**inputs, past_key_values=cache, use_cache=True)
        steps = [
            distinct.model(input_ids=new, past_key_values=cache, use_cache=True).logits[0]
            for new in MORE.split(at_once, dim=1)
        ]
    torch.testing.assert_close(torch.cat(steps), expected, rtol=0, atol=2e-5)


KEEPING = {
    "FastV": FastV(1, 1.0),
    "FastV, decides": FastV(1, 10**6),
    "PyramidDrop": PyramidDrop((1, 2), (1.0, 10**6)),
    "V²Drop": V2Drop((1,), (10**6,)),
    "DART": DART(1, 10**6),
    "VTW": VTW(1.0),
    "ShortV": ShortV(0),
    "DivPrune": DivPrune(1.0),
    "Random": RandomTokens(10**6),
    "Uniform grid": UniformGrid(1.0),
    "Downsampled picture": Downsampled(1.0),
    "VisionZip": VisionZip(0.9, 0.1),
    "VisionZip, all dominant": VisionZip(10**6, 0),
    "SPIDER": SPIDER(1.0, threshold=100),
    "SPIDER, calibrated": SPIDER(1.0, threshold=100, ffn_kl=(1, 2, 3), attention_kl=(2, 2, 2)),
}


@pytest.mark.parametrize("name", KEEPING)
def test_keeping_everything_is_bit_identical_to_dense(vlm: Vlm, name: str) -> None:
    inputs = vlm.prepare(noise_picture(0), QUESTION).inputs
    dense = logits(vlm, inputs)
    with KEEPING[name](vlm.model, record=True) as session:
        assert torch.equal(logits(vlm, inputs), dense)
    assert session.trace.entered.all() and session.trace.ran_ffn.all()


@pytest.mark.parametrize("name", [*EVERY_PEER, *COMBINED])
def test_rows_are_counted_in_the_running_model(vlm: Vlm, name: str) -> None:
    """What the trace says entered is what did, and the cache holds what is left."""
    inputs = vlm.prepare(noise_picture(0), QUESTION).inputs
    with {**EVERY_PEER, **COMBINED}[name](vlm.model, record=True) as session, torch.inference_mode():
        cache = vlm.model(**inputs, use_cache=True).past_key_values
    trace = session.trace
    masks = trace.entered, trace.ran_attention, trace.ran_ffn
    assert trace.counts.tolist() == torch.stack([mask.sum(dim=1) for mask in masks], dim=1).tolist()
    assert torch.equal(trace.ffn_update.isnan(), ~trace.ran_ffn)
    for layer, stored in enumerate(cache.layers):
        assert trace.kv_tokens[layer] == stored.keys.shape[-2] <= int(trace.in_cache[layer].sum())
        assert trace.kv_bytes[layer] == 2 * stored.keys.untyped_storage().nbytes()


def test_dropped_tokens_have_no_slot() -> None:
    vlm = tiny_model("LLaVA")
    with DivPrune(10)(vlm.model) as session:
        logits(vlm, vlm.prepare(noise_picture(0), QUESTION).inputs)
    trace = session.trace
    assert int((trace.role == Role.DROPPED).sum()) == 54 == int((trace.token_slot < 0).sum())
    assert not trace.merged.any()


def test_a_combination_drops_some_skips_some_and_keeps_the_rest() -> None:
    vlm = tiny_model("LLaVA")
    method = COMBINED["DivPrune, then masked"]
    assert isinstance(method, Combined)
    with method(vlm.model) as session:
        logits(vlm, vlm.prepare(noise_picture(0), QUESTION).inputs)
    roles = [int((session.trace.slot_role == role).sum()) for role in (Role.RETAINED, Role.SKIPPED, Role.SUMMARY)]
    assert roles == [round(0.3 * 38), round(0.3 * 38), 2]
    assert int((session.trace.role == Role.DROPPED).sum()) == 64 - 38
