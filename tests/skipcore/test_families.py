"""The laws over every family: tiny random models of the stock classes with their real processors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from model_runs import hooks, logits
from reference import sequence
from shared_models import noise_picture, trained_summary
from tiny_families import BUILDERS, LAYERS, WIDTH, tiny_model
from transformers import DynamicCache

from skipcore import Dense, InputError, Method, Role, SkipVision, Vlm, answer
from skipcore.answer import generate
from skipcore.methods.skip_vision import UNTRAINED

METHODS = {
    "masked": SkipVision(0.2, 0.3),
    "masked, trained summary": SkipVision(0.2, 0.3, summary=trained_summary(WIDTH)),
    "text sees skipped": SkipVision(0.2, 0.3, text_attends_skipped=True),
    "renumbered": SkipVision(0.3, 0.2, retain="raster", merge_order="redundancy", positions="renumbered"),
    "attention skipped, too": SkipVision(0.2, 0.3, attention_layers=(1,)),
    "some sub-layers, in place": SkipVision(0.4, 0.6, layers=(2,), attention_layers=(0, 2), **UNTRAINED),
    "in place, merged and masked": SkipVision(0.3, 0.3, layers=(0,), attention_layers=(1, 2), in_place=True),
}
QUESTION = "What colour is it?"


@pytest.fixture(params=BUILDERS)
def vlm(request: pytest.FixtureRequest) -> Vlm:
    return tiny_model(request.param)


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> Method:
    return METHODS[request.param]


def sizes(vlm: Vlm) -> list[int]:
    """Visual tokens of each tile."""
    return [rows * columns for rows, columns in (tile.grid for tile in vlm.prepare(noise_picture(0), "?").tiles[0])]


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


# Law 2: reference


@contextmanager
def zeroed_sublayers(decoder: torch.nn.Module, rows: list[int], method: SkipVision) -> Iterator[None]:
    def zero(module: torch.nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        output[:, rows] = 0
        return output

    ffns = range(LAYERS) if method.layers is None else method.layers
    zeroed = [decoder.layers[layer].mlp for layer in ffns]
    zeroed += [decoder.layers[layer].self_attn.o_proj for layer in method.attention_layers]
    handles = [module.register_forward_hook(zero) for module in zeroed]
    yield
    for handle in handles:
        handle.remove()


def seen_by_decoder(vlm: Vlm, inputs: dict) -> dict[str, Any]:
    """The decoder's keyword arguments in a plain forward."""
    seen: dict[str, Any] = {}
    handle = vlm.model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True
    )
    logits(vlm, inputs)
    handle.remove()
    return seen


def allowed(roles: list[str], positions: list[int], text_attends_skipped: bool, window: int, both_ways: bool) -> Any:
    """Which slot sees which, spelled out."""
    n = len(roles)
    mask = torch.zeros(n, n, dtype=torch.bool)
    for row in range(n):
        for column in range(n):
            is_picture = roles[row] != "text" and roles[column] != "text" and both_ways
            causal = column <= row and positions[column] > positions[row] - window
            blind = roles[row] == "text" and roles[column] == "skipped" and not text_attends_skipped
            mask[row, column] = (causal or is_picture) and not blind
    return mask[None, None]


def test_equals_the_slow_reference(vlm: Vlm, method: SkipVision) -> None:
    inputs = vlm.prepare(noise_picture(0), QUESTION).inputs
    dense = seen_by_decoder(vlm, inputs)
    with method(vlm.model) as session, torch.inference_mode():
        actual = vlm.model.base_model(**inputs).last_hidden_state[0]
    trace = session.trace
    visual = session._prompts.visual[0].tolist()
    slots = sequence(dense["inputs_embeds"][0], visual, method)
    roles, places = slots["roles"], slots["positions"]
    assert [Role(role).name.lower() for role in trace.slot_role.tolist()] == roles

    positions = torch.tensor(places)[None]
    if method.positions == "original" and dense.get("position_ids") is not None:
        positions = dense["position_ids"][..., torch.tensor(places)]
    original = places if method.positions == "original" else _original(slots, visual)
    is_gemma = vlm.name == "Gemma 3"
    mask: Any = allowed(roles, original, method.text_attends_skipped, 10**6, is_gemma)
    if is_gemma:
        window = vlm.model.get_decoder().config.sliding_window
        near = allowed(roles, original, method.text_attends_skipped, window, True)
        mask = {"full_attention": mask, "sliding_attention": near}
    more = {}
    if dense.get("deepstack_visual_embeds") is not None:
        more = deepstack(dense, slots)
    skipped = [number for number, role in enumerate(roles) if role == "skipped"]
    with zeroed_sublayers(vlm.model.get_decoder(), skipped, method), torch.inference_mode():
        expected = vlm.model.get_decoder()(
            inputs_embeds=torch.stack(slots["values"])[None], position_ids=positions, attention_mask=mask, **more
        ).last_hidden_state[0]
    text = [place for place, is_visual in enumerate(visual) if not is_visual]
    text_slots = [number for number, role in enumerate(roles) if role == "text"]
    torch.testing.assert_close(actual[text], expected[text_slots], rtol=0, atol=1e-5)
    shown = [place for place, is_visual in enumerate(visual) if is_visual]
    torch.testing.assert_close(actual[shown], expected[trace.token_slot], rtol=0, atol=1e-5)


def _original(slots: dict[str, list], visual: list[bool]) -> list[int]:
    """The places that slots had before they were numbered anew."""
    last = max(place for place, is_visual in enumerate(visual) if is_visual)
    text = iter([place for place, is_visual in enumerate(visual) if not is_visual])
    places = []
    for role, members in zip(slots["roles"], slots["members"], strict=True):
        places.append(next(text) if role == "text" else members[0] if len(members) == 1 else last)
    return places


def deepstack(dense: dict[str, Any], slots: dict[str, list]) -> dict[str, Any]:
    """Every slot's DeepStack features: the mean of its members'."""
    is_visual = torch.tensor([bool(members) for members in slots["members"]])
    moved = []
    for features in dense["deepstack_visual_embeds"]:
        of_prompt = torch.zeros(*dense["visual_pos_masks"].shape, features.shape[-1])
        of_prompt[dense["visual_pos_masks"]] = features
        moved.append(torch.stack([of_prompt[0, list(members)].mean(dim=0) for members in slots["members"] if members]))
    return {"visual_pos_masks": is_visual[None], "deepstack_visual_embeds": moved}


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
    prepared = vlm.prepare(noise_picture(0), QUESTION)
    features = prepared.with_features(vlm.encode(prepared))
    ours = [token.id for token in generate(vlm, features, method(vlm.model), 6, ignore_eos=True)]
    with method(vlm.model):
        generated = vlm.model.generate(**prepared.inputs, max_new_tokens=6, do_sample=False, eos_token_id=-1)
    assert ours == generated[0, prepared.num_tokens :].tolist()
    assert next(answer(vlm, noise_picture(0), QUESTION, method, 3)).id == ours[0]


# Law 6: batches


def batch(vlm: Vlm, pictures: list[list], questions: list[str]) -> dict:
    texts = [vlm._prompt([(question, "")], len(own)) for question, own in zip(questions, pictures, strict=True)]
    return dict(vlm.processor(images=pictures, text=texts, padding=True, return_tensors="pt"))


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
