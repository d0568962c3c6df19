"""The laws of the design, over methods × models. Official parity is in `test_official`, timing in `profiling`."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from model_runs import batch_of, hooks, logits
from reference import hidden_states, sequence
from shared_models import METHOD_NAMES, methods_for, noise_picture
from transformers import DynamicCache

from skipcore import Dense, InputError, Method, Role, SkipVision, Vlm

SKIPPING = [name for name in METHOD_NAMES if name != "dense"]
MASKED = [name for name in METHOD_NAMES if name.startswith("masked") or name == "CoS options"]
QUESTION = "What color is the shape?"


# Law 1: keep-all


@pytest.mark.parametrize(
    "keep_all",
    [
        Dense(),
        SkipVision(1.0, 0.0),
        SkipVision(10**6, 5, text_attends_skipped=True, retain="random"),
        SkipVision(1.0, 1.0, positions="renumbered", retain="raster"),
    ],
    ids=lambda method: method.label,
)
@pytest.mark.parametrize("record", [False, True])
def test_keeping_everything_is_bit_identical_to_dense(vlm: Vlm, picture, keep_all: Method, record: bool) -> None:
    inputs = vlm.prepare(picture, QUESTION).inputs
    dense = logits(vlm, inputs)
    with keep_all(vlm.model, record=record) as session:
        assert torch.equal(logits(vlm, inputs), dense)
    assert (session.trace.role == Role.RETAINED).all()
    assert session.trace.ran_ffn.all()


# Law 2: reference


@pytest.mark.parametrize("name", SKIPPING)
def test_equals_the_slow_reference(tiny: Vlm, picture, name: str) -> None:
    method = methods_for(tiny)[name]
    prepared = tiny.prepare(picture, QUESTION)
    with torch.inference_mode():
        embeds = _embeds(tiny, prepared)
        visual = prepared.inputs["input_ids"][0] == tiny.model.config.image_token_id
        slots = sequence(embeds[0], [visual.nonzero().flatten().tolist()], method)
        expected = hidden_states(tiny.model.get_decoder(), slots, method.text_attends_skipped)
        with method(tiny.model) as session:
            actual = tiny.model.model(**prepared.inputs).last_hidden_state[0]
    trace = session.trace
    assert [Role(role).name.lower() for role in trace.slot_role.tolist()] == [r.split(",")[0] for r in slots["roles"]]
    text_slots = [i for i, role in enumerate(slots["roles"]) if role == "text"]
    torch.testing.assert_close(actual[~visual], expected[text_slots], rtol=0, atol=1e-5)
    torch.testing.assert_close(actual[visual], expected[trace.token_slot], rtol=0, atol=1e-5)


@pytest.mark.parametrize("attention", ["eager", "flex_attention"])
@pytest.mark.parametrize("question", ["hm?", QUESTION * 3], ids=["short", "long"])
def test_any_attention_of_the_model(tiny: Vlm, picture, attention: str, question: str, monkeypatch) -> None:
    """Skipping attends by sdpa whatever the model's own attention is."""
    method = methods_for(tiny)["masked, trained summary"]
    inputs = tiny.prepare(picture, question).inputs
    with method(tiny.model):
        expected = logits(tiny, inputs)
    monkeypatch.setattr(tiny.model.get_decoder().config, "_attn_implementation", attention)
    with method(tiny.model):
        torch.testing.assert_close(logits(tiny, inputs), expected, rtol=0, atol=1e-5)
    assert tiny.model.get_decoder().config._attn_implementation == attention


def _embeds(vlm: Vlm, prepared) -> torch.Tensor:
    ids = prepared.inputs["input_ids"]
    embeds = vlm.model.get_input_embeddings()(ids).clone()
    embeds[ids == vlm.model.config.image_token_id] = vlm.encode(prepared)["image"].pooler_output[0]
    return embeds


# Law 3: restoration


def test_leaving_a_session_leaves_nothing(vlm: Vlm, picture, method: Method) -> None:
    inputs = vlm.prepare(picture, QUESTION).inputs
    before, hooks_before = logits(vlm, inputs), hooks(vlm)
    attention = vlm.model.get_decoder().config._attn_implementation
    weights = {name: weight.clone() for name, weight in vlm.model.state_dict().items()}
    with method(vlm.model, record=True):
        logits(vlm, inputs)
    assert hooks(vlm) == hooks_before
    assert vlm.model.get_decoder().config._attn_implementation == attention
    assert torch.equal(logits(vlm, inputs), before)
    assert all(torch.equal(weight, weights[name]) for name, weight in vlm.model.state_dict().items())


def test_a_dense_session_leaves_the_layers_unhooked(tiny: Vlm) -> None:
    def hooked() -> list[int]:  # transformers may have hooked some of its own accord
        layers = tiny.model.get_decoder().layers
        return [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in layers.modules()]

    before, layers_before = hooks(tiny), hooked()
    with Dense()(tiny.model):
        assert hooks(tiny) > before and hooked() == layers_before


def test_a_dense_session_keeps_neither_pictures_nor_cache(tiny: Vlm, picture) -> None:
    """It plans when asked for a trace, from what it kept of the inputs."""
    inputs = dict(tiny.prepare(picture, QUESTION).inputs)
    with Dense()(tiny.model) as session, torch.inference_mode():
        output = tiny.model(**inputs, past_key_values=DynamicCache(config=tiny.model.config), use_cache=True)
    gone = [weakref.ref(each) for each in (inputs.pop("pixel_values"), output.past_key_values)]
    del output
    gc.collect()
    assert [each() for each in gone] == [None, None]
    assert session.trace.picture_tokens == (64,)
    assert (session.trace.kv_tokens == inputs["input_ids"].shape[1]).all()


@pytest.mark.parametrize("where", ["in the body", "in a layer", "in the method"])
def test_a_session_that_raised_leaves_nothing(tiny: Vlm, picture, where: str, monkeypatch) -> None:
    inputs = tiny.prepare(picture, QUESTION).inputs
    before, hooks_before = logits(tiny, inputs), hooks(tiny)

    def fail(*args, **kwargs):
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"), SkipVision(0.2, 0.3)(tiny.model):
        if where == "in a layer":
            monkeypatch.setattr(tiny.model.get_decoder().layers[1].mlp, "forward", fail)
        elif where == "in the method":
            monkeypatch.setattr(SkipVision, "plan", fail)
        else:
            fail()
        logits(tiny, inputs)
    monkeypatch.undo()
    assert hooks(tiny) == hooks_before
    assert torch.equal(logits(tiny, inputs), before)
    with SkipVision(0.2, 0.3)(tiny.model):  # and the model can be used again
        logits(tiny, inputs)


def test_sessions_on_one_model_cannot_be_nested(tiny: Vlm, picture) -> None:
    inputs = tiny.prepare(picture, QUESTION).inputs
    with SkipVision(0.2, 0.3)(tiny.model) as outer:
        with pytest.raises(InputError, match="already"), Dense()(tiny.model):
            pass
        logits(tiny, inputs)
    assert outer.trace.kv_tokens is not None


def test_a_session_can_prefill_again(tiny: Vlm, picture) -> None:
    """A full session, then other prompts in it: nothing of the one before is left."""
    first, second = tiny.prepare(picture, QUESTION).inputs, tiny.prepare(noise_picture(3), "and?").inputs
    method = SkipVision(0.2, 0.3)
    with method(tiny.model):
        alone = logits(tiny, second)
    with method(tiny.model) as session:
        tiny.model.generate(**first, max_new_tokens=3, do_sample=False)
        assert torch.equal(logits(tiny, second), alone)
        text_only = {"input_ids": first["input_ids"][:, -5:]}
        in_session = logits(tiny, text_only)
    assert torch.equal(in_session, logits(tiny, text_only))
    assert len(session.trace.token_slot) == 0


# Law 4: decode = re-prefill, and the cache


@pytest.mark.parametrize("name", ["dense", *MASKED])
@pytest.mark.parametrize("at_once", [1, 3])
def test_decoding_equals_prefilling_again(tiny: Vlm, picture, name: str, at_once: int) -> None:
    method = methods_for(tiny)[name]
    inputs = tiny.prepare(picture, QUESTION).inputs
    more = torch.tensor([[70, 80, 90, 100, 110, 120]])
    together = dict(inputs, input_ids=torch.cat([inputs["input_ids"], more], dim=1))
    del together["attention_mask"]
    with method(tiny.model), torch.inference_mode():
        expected = tiny.model(**together).logits[:, -7:]
        cache = DynamicCache(config=tiny.model.config)
        steps = [tiny.model(**inputs, past_key_values=cache, use_cache=True).logits[:, -1:]]
        for new in more.split(at_once, dim=1):
            steps.append(tiny.model(input_ids=new, past_key_values=cache, use_cache=True).logits)
    torch.testing.assert_close(torch.cat(steps, dim=1), expected, rtol=0, atol=1e-5)


def test_the_cache_holds_what_the_plan_keeps(vlm: Vlm, picture, method: Method) -> None:
    inputs = vlm.prepare(picture, QUESTION).inputs
    config = vlm.model.get_decoder().config
    with method(vlm.model) as session, torch.inference_mode():
        output = vlm.model(**inputs, use_cache=True)
    trace = session.trace
    kept = int((trace.slot_role != Role.SKIPPED).sum())
    per_token = 2 * config.num_key_value_heads * (config.hidden_size // config.num_attention_heads) * 4
    assert trace.kv_tokens.tolist() == [kept] * config.num_hidden_layers
    assert trace.kv_bytes.tolist() == [kept * per_token] * config.num_hidden_layers
    for layer in output.past_key_values.layers:
        assert layer.keys.shape[-2] == kept
        assert layer.keys.untyped_storage().nbytes() + layer.values.untyped_storage().nbytes() == kept * per_token


@pytest.mark.parametrize("do_sample", [False, True])
def test_generate_equals_our_own_loop(vlm: Vlm, picture, method: Method, do_sample: bool) -> None:
    inputs = vlm.prepare(picture, QUESTION).inputs
    length = inputs["input_ids"].shape[1]
    with method(vlm.model), torch.inference_mode():
        torch.manual_seed(5)
        generated = vlm.model.generate(
            **inputs,
            max_new_tokens=6,
            do_sample=do_sample,
            temperature=1.5 if do_sample else None,
            eos_token_id=-1,
            top_k=0 if do_sample else None,
        )[0, length:]
        torch.manual_seed(5)
        cache, step, tokens = DynamicCache(config=vlm.model.config), dict(inputs), []
        for _ in range(6):
            last = vlm.model(**step, past_key_values=cache, use_cache=True).logits[:, -1].float()
            token = torch.multinomial((last / 1.5).softmax(-1), 1)[0] if do_sample else last.argmax(-1)
            tokens.append(int(token))
            step = {"input_ids": torch.tensor([tokens[-1:]])}
    assert generated.tolist() == tokens


# Law 6: batches


@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_a_batch_equals_the_single_runs(vlm: Vlm, method: Method, padding_side: str) -> None:
    questions = ["What?", QUESTION, "Is there a red circle in the middle of the picture, or not?"]
    prompts = [vlm.prepare(noise_picture(seed), question).inputs for seed, question in enumerate(questions)]
    batch = batch_of(vlm, prompts, padding_side)
    with torch.inference_mode():
        with method(vlm.model) as session:
            together = vlm.model(**batch).logits
        for row, (prompt, trace) in enumerate(zip(prompts, session.traces, strict=True)):
            with method(vlm.model) as alone:
                expected = vlm.model(**prompt).logits[0]
            # Rotary angles of shifted positions round differently; logits of a trained model are large.
            close = 3e-5 * float(expected.abs().max())
            torch.testing.assert_close(together[row][batch["attention_mask"][row].bool()], expected, rtol=0, atol=close)
            assert torch.equal(
                trace.token_slot - trace.token_slot[0], alone.trace.token_slot - alone.trace.token_slot[0]
            )
            assert torch.equal(trace.slot_role, alone.trace.slot_role)


def test_a_left_padded_batch_generates_the_single_answers(vlm: Vlm, method: Method) -> None:
    questions = ["What?", QUESTION, "Is there a red circle in the middle of the picture, or not?"]
    prompts = [vlm.prepare(noise_picture(seed), question).inputs for seed, question in enumerate(questions)]
    batch = batch_of(vlm, prompts, "left")
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": -1}
    with method(vlm.model) as session:
        together = vlm.model.generate(**batch, **options)[:, batch["input_ids"].shape[1] :]
    for row, (prompt, trace) in enumerate(zip(prompts, session.traces, strict=True)):
        with method(vlm.model) as alone:
            expected = vlm.model.generate(**prompt, **options)[0, prompt["input_ids"].shape[1] :]
        assert together[row].tolist() == expected.tolist()
        if not isinstance(method, Dense):
            assert torch.equal(trace.kv_tokens, alone.trace.kv_tokens)


def test_several_pictures_in_one_prompt(tiny: Vlm) -> None:
    """Counts are per picture, and each picture keeps its own grid and summaries."""
    pictures = [noise_picture(1), noise_picture(2)]
    batch = tiny.processor(images=pictures, text=["<image> and <image> differ?"], return_tensors="pt")
    method = SkipVision(12, 16)
    with method(tiny.model) as session, torch.inference_mode():
        tiny.model(**batch)
        generated = tiny.model.generate(**batch, max_new_tokens=3, do_sample=False)
    trace = session.trace
    assert trace.image_grid == ((8, 8), (8, 8))
    assert int((trace.slot_role == Role.RETAINED).sum()) == 24
    assert int((trace.slot_role == Role.SKIPPED).sum()) == 32
    assert int((trace.slot_role == Role.SUMMARY).sum()) == 4
    assert generated.shape[1] == batch["input_ids"].shape[1] + 3
