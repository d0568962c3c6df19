"""Pictures and texts in any order, as chat messages."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from shared_models import noise_picture
from tiny_families import BUILDERS, tiny_model
from tiny_tokenizer import IMAGE

from skipcore import InputError, Vlm

TEMPLATE = (
    "{% for message in messages %}{{ message.role }}:{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}; {% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def picture_part(seed: int) -> dict[str, Any]:
    return {"type": "image", "image": noise_picture(seed)}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def message(*parts: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(parts)}


@pytest.fixture
def templated(monkeypatch: pytest.MonkeyPatch) -> Vlm:
    vlm = tiny_model("LLaVA")
    monkeypatch.setattr(vlm.processor, "chat_template", TEMPLATE)
    return vlm


@pytest.mark.parametrize("family", BUILDERS)
def test_pictures_before_a_question_are_prepared_alike(family: str) -> None:
    vlm = tiny_model(family)
    asked = vlm.prepare([noise_picture(0), noise_picture(1)], "What is it?").inputs
    told = vlm.prepare_messages([message(picture_part(0), picture_part(1), text_part("What is it?"))]).inputs
    assert told.keys() == asked.keys()
    assert all(torch.equal(told[name], asked[name]) for name in asked)


def test_parts_keep_their_order(templated: Vlm) -> None:
    first = message(text_part("A "), picture_part(0), text_part(" B "), picture_part(1), text_part(" C"))
    prepared = templated.prepare_messages([first, message(text_part("D"), role="assistant"), message(text_part("E"))])
    text = templated.processor.tokenizer.decode(prepared.inputs["input_ids"][0])
    marks = "<image>" * (int((prepared.inputs["input_ids"] == IMAGE).sum()) // 2)
    assert text == f"user:A {marks} B {marks} C; assistant:D; user:E; assistant:"
    pixels = [templated.prepare(noise_picture(seed), "?").inputs["pixel_values"] for seed in (0, 1)]
    assert torch.equal(prepared.inputs["pixel_values"], torch.cat(pixels))


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ({"type": "video", "video": "a.mp4"}, "pictures and texts, but this one holds video"),
        (text_part("an <image> mark"), "special meaning"),
        ({"type": "image", "image": "none.png"}, "no picture file"),
        (text_part("x" * 5000), "tokens and the answer may take 1 more"),
    ],
)
def test_parts_that_cannot_be(templated: Vlm, part: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        templated.prepare_messages([message(part)], 1)
