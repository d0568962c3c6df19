"""Pictures and texts in any order, as chat messages."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from shared_models import noise_picture
from tiny_families import BUILDERS, tiny_model
from tiny_tokenizer import IMAGE

from skipcore import Chat, InputError, Vlm
from skipcore.model.special_tokens import made_plain, special_tokens

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


WHAT = text_part("What?")
RED = Image.new("RGB", (40, 40), "red")


@pytest.fixture
def red_file(tmp_path: Path) -> Path:
    RED.save(tmp_path / "red.png")
    return tmp_path / "red.png"


def sources(file: Path) -> dict[str, dict[str, Any]]:
    """The same picture in all the places where it may stand."""
    written = base64.b64encode(file.read_bytes()).decode()
    address = f"data:image/png;base64,{written}"
    return {
        "image": {"type": "image", "image": RED},
        "image, a path": {"type": "image", "image": str(file)},
        "path": {"type": "image", "path": str(file)},
        "url, a path": {"type": "image", "url": str(file)},
        "url, a data address": {"type": "image", "url": address},
        "base64": {"type": "image", "base64": written},
        "without type": {"image": RED},
        "others are None": {"type": "image", "image": RED, "url": None},
        "image_url": {"type": "image_url", "image_url": {"url": address}},
    }


@pytest.mark.parametrize("family", ["LLaVA", "Qwen2-VL"])
def test_pictures_may_stand_in_many_places(family: str, red_file: Path) -> None:
    vlm = tiny_model(family)
    asked = vlm.prepare(RED, "What?").inputs
    for name, part in sources(red_file).items():
        told = vlm.prepare_messages([message(part, WHAT)]).inputs
        assert all(torch.equal(told[key], asked[key]) for key in asked), name


SAME = {
    "a text as content": [{"role": "system", "content": "Help."}, message(WHAT)],
    "a text as a part": [message("Help.", role="system"), message("What?")],  # type: ignore[arg-type]
    "a part as content": [{"role": "system", "content": text_part("Help.")}, message(WHAT)],
    "without types": [message({"text": "Help."}, role="system"), message({"text": "What?"})],
    "in tuples": ({"role": "system", "content": (text_part("Help."),)}, message(WHAT)),
}


@pytest.mark.parametrize("has_template", [True, False])
@pytest.mark.parametrize("form", SAME)
def test_texts_in_many_forms(templated: Vlm, monkeypatch, form: str, has_template: bool) -> None:
    if not has_template:
        monkeypatch.setattr(templated.processor, "chat_template", None)
    text = templated.processor.tokenizer.decode(templated.prepare_messages(SAME[form]).inputs["input_ids"][0])
    assert text == ("system:Help.; user:What?; assistant:" if has_template else "USER: Help.\nWhat? ASSISTANT:")


def test_without_a_chat_template_parts_keep_their_order() -> None:
    vlm = tiny_model("Qwen2-VL")
    first = message(text_part("A"), picture_part(0), text_part("B"), picture_part(1), text_part("C"))
    told = [first, message(text_part("D"), role="assistant"), message(text_part("E"))]
    prepared = vlm.prepare_messages(told)
    text = vlm.processor.tokenizer.decode(prepared.inputs["input_ids"][0])
    runs = ["<image>" * sum(tile.grid[0] * tile.grid[1] for tile in tiles) for tiles in prepared.tiles]
    assert text == f"A\n{runs[0]}\nB\n{runs[1]}\nC" + "D\nE"


MESSAGES_THAT_CANNOT_BE = {
    "no message": ([], "list of messages"),
    "a text": ("What?", "list of messages"),
    "a single message": (message(WHAT), "list of messages"),
    "a message that is a text": (["What?"], "must be such as"),
    "without role": ([{"content": "What?"}], "role must be one of"),
    "of a tool": ([message(WHAT), {"role": "tool", "content": "3"}], "role must be one of"),
    "of an odd role": ([{"role": ["user"], "content": "What?"}], "role must be one of"),
    "content None": ([message(WHAT), {"role": "assistant", "content": None}], "content of a message"),
    "content a number": ([{"role": "user", "content": 3}], "content of a message"),
    "content bytes": ([{"role": "user", "content": b"What?"}], "content of a message"),
    "no content": ([{"role": "user"}], "content of a message"),
    "nothing asked": ([message()], "Type a question"),
    "white space asked": ([{"role": "user", "content": " "}], "Type a question"),
    "system alone": ([{"role": "system", "content": "Help."}], "Type a question"),
    "the assistant last": ([message(WHAT), {"role": "assistant", "content": "A dog."}], "last message"),
    "part None": ([message(None)], "part of a message"),  # type: ignore[arg-type]
    "part of no kind": ([message({})], "without a type"),
    "part of an odd kind": ([message({"type": ["image"]})], "without a type"),
    "audio": ([message({"type": "audio", "audio": "a.wav"})], "holds audio"),
    "text None": ([message({"type": "text", "text": None})], "must be text"),
    "no text": ([message({"type": "text"})], "must be text"),
    "half a character pair": ([message(text_part("half \ud83e"))], "character pair"),
    "half a pair of the system": ([message(text_part("\ud83e"), role="system"), message(WHAT)], "character pair"),
    "picture without source": ([message({"type": "image"}, WHAT)], "exactly one"),
    "picture with two sources": ([message({"type": "image", "image": RED, "path": "a"}, WHAT)], "exactly one"),
    "picture of the web": ([message({"type": "image", "url": "https://example.org/a.png"}, WHAT)], "not fetched"),
    "image_url of the web": (
        [message({"type": "image_url", "image_url": {"url": "http://example.org/a.png"}}, WHAT)],
        "not fetched",
    ),
    "empty image_url": ([message({"type": "image_url", "image_url": {}}, WHAT)], "Choose a picture"),
    "damaged base64": ([message({"type": "image", "base64": "%"}, WHAT)], "base64"),
    "base64 of bytes": ([message({"type": "image", "base64": b"abc"}, WHAT)], "must be text"),
    "missing file": ([message({"type": "image", "path": "/nowhere.png"}, WHAT)], "no picture file"),
    "a special token in two parts": ([message(text_part("<im"), text_part("age>"))], "special meaning"),
    "a special token of the system": ([{"role": "system", "content": "</s>"}, message(WHAT)], "special meaning"),
}


@pytest.mark.parametrize("case", MESSAGES_THAT_CANNOT_BE)
@pytest.mark.parametrize("has_template", [True, False])
def test_messages_that_cannot_be(templated: Vlm, monkeypatch, case: str, has_template: bool) -> None:
    if not has_template:
        monkeypatch.setattr(templated.processor, "chat_template", None)
    messages, says = MESSAGES_THAT_CANNOT_BE[case]
    with pytest.raises(InputError, match=says) as error:
        templated.prepare_messages(messages)
    assert "\n" not in str(error.value)


PLACEHOLDERS = ("<image>", "<video>", "<start>", "<end>")


@pytest.mark.parametrize("family", BUILDERS)
def test_an_answer_that_writes_placeholders_is_made_plain(family: str) -> None:
    vlm = tiny_model(family)
    special = special_tokens(vlm.processor)
    answer = f"an <image> of a cat {' '.join(special)} <im<image>age>"
    chat = Chat(vlm, noise_picture(0))
    chat.turns.append(("What is it?", answer))
    assert len(list(chat.ask("And its color?", 2))) == 2
    plain = vlm.prepare(noise_picture(0), "And its color?", history=[("What is it?", "an < image> of a cat")])
    told = vlm.prepare_messages(
        [
            message(picture_part(0), text_part("What is it?")),
            {"role": "assistant", "content": "an <image> of a cat"},
            message(text_part("And its color?")),
        ]
    )
    assert torch.equal(plain.inputs["input_ids"], told.inputs["input_ids"])


@pytest.mark.parametrize("family", BUILDERS)
def test_no_question_holds_a_special_token(family: str) -> None:
    vlm = tiny_model(family)
    special = special_tokens(vlm.processor)
    assert {*PLACEHOLDERS, "</s>", "<pad>"} <= set(special)
    for token in special:
        for refused in (
            lambda text: vlm.prepare([], text),
            lambda text: vlm.prepare([], "What?", history=[(text, "A dog.")]),
            lambda text: vlm.prepare_messages([message(text_part(text))]),
        ):
            with pytest.raises(InputError, match="special meaning"):
                refused(f"what is {token} here?")


def test_special_tokens_that_are_marked_but_not_named() -> None:
    """`all_special_tokens` names a few; the others are known by their mark, or by the processor's names for them."""
    vlm = tiny_model("Idefics3")
    named = set(vlm.processor.tokenizer.all_special_tokens)
    assert "<row_1_col_1>" not in named and "<global-img>" in special_tokens(vlm.processor)
    with pytest.raises(InputError, match="row_1_col_1"):
        vlm.prepare([], "what is at <row_1_col_1>?")


@pytest.mark.parametrize(
    ("text", "tokens", "plain"),
    [
        ("a <image> b", ("<image>",), "a < image> b"),
        ("<image><image>", ("<image>",), "< image>< image>"),
        ("<im<image>age>", ("<image>",), "<im< image>age>"),
        ("xyx", ("x",), " y "),
        ("nothing here", ("<image>",), "nothing here"),
        ("nothing here", (), "nothing here"),
        ("a long<|im_start|>b", ("<|im_start|>", "<|im"), "a long< |im_start|>b"),
    ],
)
def test_made_plain(text: str, tokens: tuple[str, ...], plain: str) -> None:
    assert made_plain(text, tokens) == plain
