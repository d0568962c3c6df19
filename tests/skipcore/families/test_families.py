"""The laws over every family: tiny random models of the stock classes with their real processors."""

from __future__ import annotations

import pytest
import torch
from family_methods import COMBINED, METHODS, PEERS, SEEING_PEERS
from family_reference import assert_equals_reference
from model_runs import batch, hooks, logits
from shared_models import noise_picture
from tiny_families import BUILDERS, LAYERS, tiny_model
from transformers import DynamicCache

from skipcore import Dense, InputError, Method, Role, SkipVision, Vlm, answer
from skipcore.answering.generate import generate

QUESTION = "What color is it?"


@pytest.fixture(params=BUILDERS)
def vlm(request: pytest.FixtureRequest) -> Vlm:
    return tiny_model(request.param)


EVERY_METHOD = {**METHODS, **PEERS, **SEEING_PEERS, **COMBINED}


@pytest.fixture(params=EVERY_METHOD)
def method(request: pytest.FixtureRequest) -> Method:
    return EVERY_METHOD[request.param]


# Law 1: keep-all


@pytest.mark.parametrize("keep_all", [Dense(), SkipVision(1.0, 0.0)], ids=["Dense", "all retained"])
def test_keeping_everything_is_bit_identical_to_dense(vlm: Vlm, keep_all: Method) -> None:
    prepared = vlm.prepare(noise_picture(0), QUESTION)
    dense = logits(vlm, prepared.inputs)
    with keep_all(vlm.model, record=True) as session:
        assert torch.equal(logits(vlm, prepared.inputs), dense)
    assert session.trace.image_grid == tuple(tile.grid for tile in prepared.tiles[0])
    assert session.trace.tiles == (len(prepared.tiles[0]),)
    assert (session.trace.role == Role.RETAINED).all() and session.trace.ran_ffn.all()


def test_a_wide_picture_has_wide_grids(vlm: Vlm) -> None:
    """Rows and columns are not mixed up: those of the picture on its side are the other way round."""
    wide, tall = (
        [tile.grid for tile in vlm.prepare(noise_picture(0, *size), "?").tiles[0]] for size in ((80, 32), (32, 80))
    )
    assert all(rows <= columns for rows, columns in wide)
    assert sorted(tall) == sorted((columns, rows) for rows, columns in wide)


# Law 2: reference


@pytest.mark.parametrize("pictures", [1, 2])
@pytest.mark.parametrize("name", METHODS)
def test_equals_the_slow_reference(vlm: Vlm, name: str, pictures: int) -> None:
    own = [noise_picture(0), noise_picture(5, 40, 60)][:pictures]
    assert_equals_reference(vlm, vlm.prepare(own, QUESTION).inputs, METHODS[name])


def test_a_layer_that_is_not_there_is_refused(vlm: Vlm) -> None:
    inputs = vlm.prepare(noise_picture(0), QUESTION).inputs
    method = SkipVision(0.2, 0.3, layers=(3,))
    with pytest.raises(InputError, match="layers 0 to 2, but the method names layer 3"), method(vlm.model):
        logits(vlm, inputs)


# Law 3: restoration


def test_leaving_a_session_leaves_nothing(vlm: Vlm, method: Method) -> None:
    inputs = vlm.prepare(noise_picture(0), QUESTION).inputs
    before, hooks_before = logits(vlm, inputs), hooks(vlm)
    attributes = set(vars(vlm.model.base_model))
    with method(vlm.model, record=True):
        logits(vlm, inputs)
        vlm.model.generate(**inputs, max_new_tokens=2, do_sample=False)
    assert hooks(vlm) == hooks_before and set(vars(vlm.model.base_model)) == attributes
    assert torch.equal(logits(vlm, inputs), before)


# Law 4: decode = re-prefill


@pytest.mark.parametrize("name", ["masked", "masked, trained summary"])
@pytest.mark.parametrize("at_once", [1, 3])
def test_decoding_equals_prefilling_again(vlm: Vlm, name: str, at_once: int) -> None:
    method = METHODS[name]
    inputs = vlm.prepare(noise_picture(0), QUESTION).inputs
    more = torch.tensor([[70, 80, 90, 100, 110, 120]])
    together = dict(inputs)
    for key, filler in (("input_ids", more), ("attention_mask", 1), ("mm_token_type_ids", 0), ("token_type_ids", 0)):
        if key in together:
            new = more if key == "input_ids" else torch.full_like(more, filler)
            together[key] = torch.cat([inputs[key], new], dim=1)
    with method(vlm.model), torch.inference_mode():
        expected = vlm.model(**together).logits[:, -7:]
        cache = DynamicCache(config=vlm.model.get_decoder().config)
        steps = [vlm.model(**inputs, past_key_values=cache, use_cache=True).logits[:, -1:]]
        for new in more.split(at_once, dim=1):
            steps.append(vlm.model(input_ids=new, past_key_values=cache, use_cache=True).logits)
    torch.testing.assert_close(torch.cat(steps, dim=1), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("do_sample", [False, True])
def test_generate_equals_our_own_loop(vlm: Vlm, method: Method, do_sample: bool) -> None:
    inputs = vlm.prepare(noise_picture(0), QUESTION).inputs
    length = inputs["input_ids"].shape[1]
    options = {"temperature": 1.5, "top_k": 0} if do_sample else {}
    with method(vlm.model), torch.inference_mode():
        torch.manual_seed(5)
        generated = vlm.model.generate(**inputs, max_new_tokens=6, do_sample=do_sample, eos_token_id=-1, **options)
        torch.manual_seed(5)
        cache, step, tokens = DynamicCache(config=vlm.model.get_decoder().config), dict(inputs), []
        for _ in range(6):
            last = vlm.model(**step, past_key_values=cache, use_cache=True).logits[:, -1].float()
            tokens.append(int(torch.multinomial((last / 1.5).softmax(-1), 1) if do_sample else last.argmax(-1)))
            step = {"input_ids": torch.tensor([tokens[-1:]])}
    assert generated[0, length:].tolist() == tokens


def test_answers_are_those_of_generate(vlm: Vlm, method: Method) -> None:
    prepared = vlm.prepare(noise_picture(0), QUESTION, method=method)
    features = prepared.with_features(vlm.encode(prepared, method))
    ours = [token.id for token in generate(vlm, features, method(vlm.model), 6, ignore_eos=True)]
    with method(vlm.model):
        generated = vlm.model.generate(**prepared.inputs, max_new_tokens=6, do_sample=False, eos_token_id=-1)
    assert ours == generated[0, prepared.num_tokens :].tolist()
    assert next(answer(vlm, noise_picture(0), QUESTION, method, 3)).id == ours[0]


# Law 6: batches


def test_a_left_padded_batch_equals_the_single_runs(vlm: Vlm, method: Method) -> None:
    """Pictures of other shapes and numbers, questions of other lengths."""
    pictures = [[noise_picture(1)], [noise_picture(2, 40, 60), noise_picture(3)], [noise_picture(4, 80, 24)]]
    questions = ["What?", QUESTION, "Is there a red circle in the middle of the picture, or not?"]
    together = batch(vlm, pictures, questions)
    options = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": -1}
    with method(vlm.model) as session:
        rows = logits(vlm, together)
        answers = vlm.model.generate(**together, **options)[:, together["input_ids"].shape[1] :]
    for row, (own, question, trace) in enumerate(zip(pictures, questions, session.traces, strict=True)):
        single = batch(vlm, [own], [question])
        with method(vlm.model) as alone:
            expected = logits(vlm, single)[0]
            answered = vlm.model.generate(**single, **options)[0, single["input_ids"].shape[1] :]
        real = together["attention_mask"][row].bool()
        torch.testing.assert_close(rows[row][real], expected, rtol=0, atol=1e-5)
        assert answers[row].tolist() == answered.tolist()
        assert torch.equal(trace.slot_role, alone.trace.slot_role)
        assert trace.tiles == alone.trace.tiles and len(trace.tiles) == len(own)


def test_counts_are_per_picture(vlm: Vlm) -> None:
    pictures = [noise_picture(1), noise_picture(2)]
    inputs = batch(vlm, [pictures], [QUESTION])
    with SkipVision(3, 4)(vlm.model) as session:
        logits(vlm, inputs)
    roles = session.trace.slot_role
    assert [int((roles == role).sum()) for role in (Role.RETAINED, Role.SKIPPED, Role.SUMMARY)] == [6, 8, 4]
    assert len(session.trace.picture_tokens) == 2


def test_text_alone_is_left_alone(vlm: Vlm, method: Method) -> None:
    inputs = vlm.prepare([], QUESTION).inputs
    plain = logits(vlm, inputs)
    with method(vlm.model) as session:
        assert torch.equal(logits(vlm, inputs), plain)
    assert session.trace.tiles == () and len(session.trace.role) == 0


def test_accounting(vlm: Vlm) -> None:
    """The cache holds what the plan keeps, storage and not views."""
    inputs = vlm.prepare(noise_picture(0), QUESTION).inputs
    with METHODS["masked"](vlm.model) as session, torch.inference_mode():
        cache = vlm.model(**inputs, use_cache=True).past_key_values
    for layer in range(LAYERS):
        stored = cache.layers[layer].keys
        assert session.trace.kv_tokens[layer] == stored.shape[-2] <= int(session.trace.in_cache[layer].sum())
        assert session.trace.kv_bytes[layer] == 2 * stored.untyped_storage().nbytes() == 2 * stored.numel() * 4
