"""What processors, tokenizers and chat templates refuse becomes a sentence; what old folders leave out is filled in."""

from __future__ import annotations

import json
from pathlib import Path

import jinja2
import pytest
import torch
from PIL import Image
from shared_models import noise_picture
from tiny_families import BUILDERS, tiny_model

from skipcore import InputError, Vlm, load

RED = Image.new("RGB", (40, 40), "red")
SHAPES = ((1000, 4), (4, 1000), (4, 4), (5, 4), (16_000, 60))


@pytest.mark.parametrize("family", BUILDERS)
def test_pictures_of_every_shape_are_read_or_get_a_sentence(family: str) -> None:
    vlm = tiny_model(family)
    for size in SHAPES:
        try:
            prepared = vlm.prepare(Image.new("RGB", size, "red"), "What?")
        except InputError as error:
            assert "\n" not in str(error)
            assert "another size or shape" in str(error) or "tokens and the answer" in str(error), str(error)
        else:
            assert vlm.num_visual_tokens(prepared) > 0


def test_a_picture_beyond_a_models_aspect_ratio() -> None:
    with pytest.raises(InputError, match=r"1,000 × 4 pixels.*aspect ratio.*another size or shape"):
        tiny_model("Qwen2-VL").prepare(Image.new("RGB", (1000, 4)), "What?")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no\nway"), TypeError("'NoneType' // 'int'"), KeyError("pixel_values"), IndexError("out of range"),
        ZeroDivisionError("division by zero"), AttributeError("no such thing"), RuntimeError("shape mismatch"),
        ValueError(), jinja2.TemplateError("raised by the template"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
@pytest.mark.parametrize("pictures", [RED, []], ids=["picture", "text"])
def test_whatever_a_processor_raises(monkeypatch: pytest.MonkeyPatch, error: Exception, pictures) -> None:
    vlm = tiny_model("LLaVA")

    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(type(vlm.processor), "__call__", fail)
    with pytest.raises(InputError, match="processor cannot read") as told:
        vlm.prepare(pictures, "What?")
    assert "\n" not in str(told.value) and told.value.__cause__ is error


def test_a_lack_of_memory_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = tiny_model("LLaVA")

    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(type(vlm.processor), "__call__", fail)
    with pytest.raises(RuntimeError, match="not enough memory") as told:
        vlm.prepare(RED, "What?")
    assert not isinstance(told.value, InputError)


@pytest.mark.parametrize("family", ["LLaVA", "LLaVA-NeXT", "LLaVA-OneVision", "Pixtral", "InternVL", "SmolVLM"])
def test_a_processor_that_belongs_to_another_model(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes more or fewer visual tokens than the model's config says, and no wrong answer comes of it."""
    vlm = tiny_model(family)
    for name, value in (("patch_size", 8), ("num_image_tokens", 16), ("image_seq_length", 9), ("image_seq_len", 9)):
        if hasattr(vlm.processor, name):
            monkeypatch.setattr(vlm.processor, name, value)
    with pytest.raises(InputError) as told:
        vlm.prepare(noise_picture(0), "What?")
    assert "\n" not in str(told.value)


PARTS = (
    "{% for message in messages %}{{ message.role }}:{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}; {% endfor %}assistant:"
)
TEXTS = "{% for message in messages %}{{ message.role + ':' + message.content }}; {% endfor %}assistant:"
WRITES_LISTS = "{% for message in messages %}{{ message.role }}:{{ message.content }}; {% endfor %}assistant:"
NO_PICTURES = PARTS.replace("<image>", "")
RAISES = "{{ raise_exception('Conversation roles must alternate') }}"
BROKEN = "{% for message in messages %}"


@pytest.fixture
def of_tokenizer(monkeypatch: pytest.MonkeyPatch):
    """A model whose chat template lies in its tokenizer only."""

    def set_template(template: object) -> Vlm:
        vlm = tiny_model("LLaVA")
        monkeypatch.setattr(vlm.processor, "chat_template", None)
        monkeypatch.setattr(vlm.processor.tokenizer, "chat_template", template, raising=False)
        return vlm

    return set_template


def prompt_of(vlm: Vlm, pictures: object) -> str:
    ids = vlm.prepare(pictures, "What?").inputs["input_ids"][0]  # type: ignore[arg-type]
    return vlm.processor.tokenizer.decode(ids).replace("<image>" * 64, "[picture]")


def test_a_chat_template_of_the_tokenizer(of_tokenizer) -> None:
    assert prompt_of(of_tokenizer(PARTS), RED) == "user:[picture]What?; assistant:"
    assert prompt_of(of_tokenizer({"default": PARTS, "tools": BROKEN}), RED) == "user:[picture]What?; assistant:"
    for template in (PARTS, TEXTS, WRITES_LISTS):
        assert prompt_of(of_tokenizer(template), []) == "user:What?; assistant:"


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (TEXTS, "takes no messages of pictures"),
        (WRITES_LISTS, "as a Python list"),
        (NO_PICTURES, "leaves pictures out"),
        (RAISES, "roles must alternate"),
        (BROKEN, "takes no messages of pictures"),
        ({"tools": PARTS}, "none named 'default'"),
    ],
)
def test_a_chat_template_that_takes_no_pictures(of_tokenizer, template, says: str) -> None:
    vlm = of_tokenizer(template)
    for prepare in (
        lambda: vlm.prepare(RED, "What?"),
        lambda: vlm.prepare_messages([{"role": "user", "content": [{"image": RED}, "What?"]}]),
    ):
        with pytest.raises(InputError, match=says) as told:
            prepare()
        assert "\n" not in str(told.value)


FACTS = ("patch_size", "vision_feature_select_strategy", "num_additional_image_tokens", "num_image_tokens")


@pytest.mark.parametrize("left_out", [FACTS, FACTS[2:3]], ids=["all", "class token"])
@pytest.mark.parametrize("family", ["LLaVA", "LLaVA-NeXT", "LLaVA-OneVision"])
def test_folders_from_before_processors_expanded_placeholders(
    family: str, left_out: tuple[str, ...], tmp_path: Path
) -> None:
    new = tiny_model(family)
    new.model.save_pretrained(tmp_path)
    new.processor.save_pretrained(tmp_path)
    file = tmp_path / "processor_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({name: value for name, value in config.items() if name not in left_out}))
    old = load(tmp_path, device="cpu")
    for pictures in (noise_picture(0), [noise_picture(1, 40, 60), noise_picture(2)]):
        ours, theirs = (vlm.prepare(pictures, "What?").inputs for vlm in (old, new))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
