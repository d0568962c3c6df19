"""Chats: the second question about a picture is answered as if everything were read anew, but most of it is not."""

from __future__ import annotations

import sys
import threading

import pytest
import torch
from model_runs import logits
from shared_models import SCENES, noise_picture
from tiny_families import BUILDERS, tiny_model

from skipcore import Chat, Dense, InputError, Method, SkipVision, Vlm
from skipcore.__main__ import main
from skipcore.answering.generate import generate
from skipcore.methods import PyramidDrop
from skipcore.methods.skip_vision import UNTRAINED

METHODS = {
    "dense": Dense(),
    "masked": SkipVision(0.2, 0.3),
    "renumbered": SkipVision(0.2, 0.3, positions="renumbered"),
    "attention skipped, too": SkipVision(0.2, 0.3, attention_layers=(1,)),
    "in place, cache whole": SkipVision(0.4, 0.6, layers=(2,), **UNTRAINED),
}
FIRST, SECOND = "What color is it?", "And where?"


def tokens(chat: Chat, question: str, count: int = 5) -> list[int]:
    return [token.id for token in chat.ask(question, count)]


def anew(vlm: Vlm, method: Method, question: str, history: list[tuple[str, str]], count: int = 5) -> list[int]:
    inputs = vlm.prepare(noise_picture(0), question, history=history).inputs
    return [token.id for token in generate(vlm, inputs, method(vlm.model), count)]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("family", BUILDERS)
def test_a_second_question_is_answered_as_if_all_were_read_anew(family: str, name: str) -> None:
    vlm, method = tiny_model(family), METHODS[name]
    chat = Chat(vlm, noise_picture(0), method)
    assert tokens(chat, FIRST) == anew(vlm, method, FIRST, [])
    assert chat.reused == 0
    logits(vlm, vlm.prepare(noise_picture(1, 40, 60), "Something else meanwhile?").inputs)
    second = tokens(chat, SECOND)
    assert second == anew(vlm, method, SECOND, chat.turns[:1])
    assert tokens(chat, FIRST) == anew(vlm, method, FIRST, chat.turns[:2])
    if family != "Gemma 3":  # its window has let go of the picture
        assert chat.reused >= vlm.prepare(noise_picture(0), FIRST).num_tokens


def test_a_model_of_single_questions_reuses_the_picture(scenes: Vlm) -> None:
    """Its prompt for a second question holds no history: the cache is cropped back to the picture."""
    for method in (Dense(), scenes.skipping):
        chat = Chat(scenes, noise_picture(0), method)
        for question in ("what color is the circle?", "is there a dog?", "how many cats are there?"):
            assert tokens(chat, question) == anew(scenes, method, question, [])
        prompt = scenes.prepare(noise_picture(0), "how many cats are there?").num_tokens
        assert chat.reused >= 576 and prompt - chat.reused < 20
    assert len(chat.turns) == 3


@pytest.mark.parametrize("how", ["stopped", "closed", "failed"])
def test_a_chat_goes_on_after_an_answer_that_broke_off(tiny: Vlm, how: str, monkeypatch) -> None:
    method, stop = SkipVision(0.2, 0.3), threading.Event()
    chat = Chat(tiny, noise_picture(0), method)
    tokens(chat, FIRST)
    answering = chat.ask(SECOND, 6, stop=stop)
    next(answering)
    if how == "stopped":
        stop.set()
        assert list(answering) == []
    elif how == "closed":
        answering.close()
    else:

        def fail(*args: object) -> None:
            raise RuntimeError("on purpose")

        monkeypatch.setattr(tiny.model.get_decoder().layers[1].mlp, "forward", fail)
        with pytest.raises(RuntimeError, match="on purpose"):
            list(answering)
        monkeypatch.undo()
    assert len(chat.turns) == (1 if how == "failed" else 2)
    history = list(chat.turns)
    assert tokens(chat, "And now?") == anew(tiny, method, "And now?", history)
    assert (chat.reused > 0) == (how != "failed")
    assert not tiny.lock.locked()


def test_pictures_are_encoded_once(tiny: Vlm) -> None:
    calls: list[int] = []
    hook = tiny.model.model.vision_tower.register_forward_hook(lambda *call: calls.append(1))
    chat = Chat(tiny, [noise_picture(0), noise_picture(1)])
    tokens(chat, FIRST)
    tokens(chat, SECOND)
    hook.remove()
    assert len(calls) == 1


def test_chats_over_text_alone_and_bad_questions(tiny: Vlm) -> None:
    chat = Chat(tiny, [])
    tokens(chat, FIRST)
    with pytest.raises(InputError, match="Type a question"):
        tokens(chat, " ")
    tokens(chat, SECOND)
    assert chat.reused > 0 and len(chat.turns) == 2


def test_cropping_stops_at_the_picture(tiny: Vlm, picture) -> None:
    inputs = tiny.prepare(picture, FIRST).inputs
    after = int((inputs["input_ids"][0] == tiny.model.config.image_token_id).flip(0).long().argmax())
    with SkipVision(0.2, 0.3)(tiny.model), torch.inference_mode():
        cache = tiny.model(**inputs, use_cache=True).past_key_values
        length = cache.get_seq_length()
        cache.crop(-after)
        assert cache.get_seq_length() == length - after
        with pytest.raises(InputError, match="last picture"):
            cache.crop(-1)


def test_the_command_line_asks_on_and_on(tmp_path, capsys) -> None:
    picture = tmp_path / "picture.png"
    noise_picture(0).save(picture)
    asked = ["ask", "--model", str(SCENES), "--image", str(picture), "--max-new-tokens", "4", "--question"]
    assert main([*asked, "What shape is it?", "Is there a dog?"]) == 0
    printed = capsys.readouterr().out
    assert (
        "What shape is it?" in printed and "first token" in printed and "; 0 tokens not read again (0 held" in printed
    )
    assert printed.count("tokens not read again") == 2
    assert main([*asked, ""]) == 2
    assert "Type a question" in capsys.readouterr().err


def test_what_was_not_read_again_is_not_what_the_cache_holds(tiny: Vlm) -> None:
    """Two figures: skipped and merged tokens are not read again, but have left the cache."""
    prompt = tiny.prepare(noise_picture(0), FIRST).num_tokens
    for method in (Dense(), SkipVision(0.2, 0.3), PyramidDrop((1, 2), (0.5, 0.2))):
        chat = Chat(tiny, noise_picture(0), method)
        tokens(chat, FIRST, 1)
        assert (chat.reused, chat.kv_tokens) == (0, 0)
        with method(tiny.model) as session, torch.inference_mode():
            tiny.model(**tiny.prepare(noise_picture(0), FIRST).inputs, use_cache=True)
        held = session.trace.kv_tokens
        assert held is not None
        tokens(chat, SECOND)
        behind = prompt - chat.reused  # the end of the first prompt, which the second one words differently
        assert chat.reused > 64 and chat.kv_tokens == pytest.approx(held.double().mean() - behind)
        assert (chat.kv_tokens == chat.reused) == method.execution.keeps_all


def test_the_first_token_is_timed_from_the_encoded_picture_on(tiny: Vlm, monkeypatch) -> None:
    """The device has done the encoding before the prefill's clock starts."""
    order: list[str] = []
    encode, forward = Vlm.encode, tiny.model.forward
    monkeypatch.setattr(Vlm, "encode", lambda *args: (order.append("encode"), encode(*args))[1])
    monkeypatch.setattr(tiny.model, "forward", lambda *args, **kw: (order.append("run"), forward(*args, **kw))[1])
    monkeypatch.setattr(sys.modules["skipcore.answering.chat"], "synchronize", lambda devices: order.append("wait"))
    tokens(Chat(tiny, noise_picture(0)), FIRST, 1)
    assert order == ["encode", "wait", "run"]
