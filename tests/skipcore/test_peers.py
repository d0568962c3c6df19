"""The peers against a slow reference of full attention matrices, on every family."""

from __future__ import annotations

import peer_reference
import pytest
import torch
from family_methods import COMBINED, PEERS
from model_runs import logits
from shared_models import noise_picture
from tiny_families import BUILDERS, LAYERS, tiny_model
from transformers import DynamicCache

from skipcore import Method, Role, Vlm
from skipcore.methods import (
    DART,
    VTW,
    Combined,
    DivPrune,
    FastV,
    PyramidDrop,
    RandomTokens,
    ShortV,
    UniformGrid,
    V2Drop,
)
from skipcore.trace import Trace

QUESTION = "What colour is it?"
MORE = torch.tensor([[70, 80, 90, 100]])


@pytest.fixture(params=BUILDERS)
def vlm(request: pytest.FixtureRequest) -> Vlm:
    return tiny_model(request.param)


@pytest.fixture(params=PEERS)
def method(request: pytest.FixtureRequest) -> Method:
    return PEERS[request.param]


def there(trace: Trace, visual: list[int], layer: int) -> set[int]:
    """The visual tokens that entered a layer, as places of the prompt."""
    entered = trace.of_tokens(trace.entered[layer], False)
    return {visual[token] for token in entered.nonzero().flatten().tolist()}


@pytest.mark.parametrize("pictures", [1, 2])
def test_equals_the_slow_reference(vlm: Vlm, method: Method, pictures: int) -> None:
    """The same tokens stay in each layer, and text ends in the same states."""
    own = [noise_picture(0), noise_picture(5, 40, 60)][:pictures]
    inputs = vlm.prepare(own, QUESTION).inputs
    expected, expected_there = peer_reference.run(vlm, inputs, method, inputs["input_ids"].shape[1])
    with method(vlm.model) as session, torch.inference_mode():
        actual = vlm.model.base_model(**inputs).last_hidden_state[0]
    visual = sorted({place for layer in expected_there for place in layer} | set(visual_places(vlm, inputs)))
    assert [there(session.trace, visual, layer) for layer in range(LAYERS)] == expected_there
    text = [place for place in range(len(actual)) if place not in visual]
    torch.testing.assert_close(actual[text], expected[text], rtol=0, atol=1e-5)


def visual_places(vlm: Vlm, inputs: dict) -> list[int]:
    from skipcore.prefill import read_prompts

    return read_prompts(vlm.family, vlm.model.config, inputs).visual[0].nonzero().flatten().tolist()


@pytest.mark.parametrize("at_once", [1, 4])
def test_decoding_sees_what_each_layer_kept(vlm: Vlm, method: Method, at_once: int) -> None:
    """Caches of other lengths in each layer: decoded tokens end as if all were read at once under full masks."""
    inputs = vlm.prepare(noise_picture(0), QUESTION).inputs
    together = dict(inputs)
    for key, filler in (("input_ids", None), ("attention_mask", 1), ("mm_token_type_ids", 0), ("token_type_ids", 0)):
        if key in together:
            together[key] = torch.cat([inputs[key], MORE if filler is None else torch.full_like(MORE, filler)], dim=1)
    expected, _ = peer_reference.run(vlm, together, method, inputs["input_ids"].shape[1])
    expected = vlm.model.get_output_embeddings()(expected[-len(MORE[0]) :])
    with method(vlm.model), torch.inference_mode():
        cache = DynamicCache(config=vlm.model.get_decoder().config)
        vlm.model(**inputs, past_key_values=cache, use_cache=True)
        steps = [
            vlm.model(input_ids=new, past_key_values=cache, use_cache=True).logits[0]
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
}


@pytest.mark.parametrize("name", KEEPING)
def test_keeping_everything_is_bit_identical_to_dense(vlm: Vlm, name: str) -> None:
    inputs = vlm.prepare(noise_picture(0), QUESTION).inputs
    dense = logits(vlm, inputs)
    with KEEPING[name](vlm.model, record=True) as session:
        assert torch.equal(logits(vlm, inputs), dense)
    assert session.trace.entered.all() and session.trace.ran_ffn.all()


def test_rows_are_counted_in_the_running_model(vlm: Vlm, method: Method) -> None:
    """What the trace says entered is what did, and the cache holds what is left."""
    inputs = vlm.prepare(noise_picture(0), QUESTION).inputs
    for each in (method, *COMBINED.values()):
        with each(vlm.model, record=True) as session, torch.inference_mode():
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
