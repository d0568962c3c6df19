"""Calls of processors, tokenizers and chat templates: what they raise becomes one plain sentence here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jinja2 import TemplateError
from PIL import Image
from transformers import PreTrainedConfig

from skipcore.errors import InputError, is_out_of_memory
from skipcore.families.patches import has_class_token

FAILURES = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError, OSError, TemplateError)
LONGEST_REASON = 200
"""Characters."""


@contextmanager
def in_a_sentence(what: str, advice: str) -> Iterator[None]:
    """Inside, a failure becomes an `InputError`: what failed, its reason, and what to do about it. A lack of memory
    stays what it is.

    Raises:
        InputError: see above.
    """
    try:
        yield
    except InputError:
        raise
    except FAILURES as error:
        if is_out_of_memory(error):
            raise
        raise InputError(f"{what} ({_reason(error)}): {advice}.") from error


def read_prompt(processor: Any, text: str, pictures: Sequence[Image.Image]) -> Any:
    """A prompt that marks its pictures, as the processor turns it into the model's inputs.

    Raises:
        InputError: the processor refuses a picture or the text.
    """
    sizes = ", ".join(f"{picture.width:,} × {picture.height:,}" for picture in pictures)
    if pictures:
        what = f"The model's processor cannot read the pictures ({sizes} pixels) and the text"
        advice = "use pictures of another size or shape"
    else:
        what, advice = "The model's processor cannot read the text", "change the text"
    with in_a_sentence(what, f"{advice}, or a folder whose processor belongs to the model"):
        batch = processor(images=list(pictures) or None, text=[text], return_tensors="pt")
        if batch["input_ids"].shape[1] == 0:
            raise ValueError("it makes no token of it")
        return batch


def chat_template(processor: Any) -> str | None:
    """The processor's chat template, or else its tokenizer's; of several, the one named "default". None: it has none.

    Raises:
        InputError: it has several, and none of that name.
    """
    for owner in (processor, getattr(processor, "tokenizer", None)):
        template = getattr(owner, "chat_template", None)
        if isinstance(template, dict):
            if "default" not in template:
                raise InputError(
                    f"The model has the chat templates {', '.join(template)}, but none named 'default': set "
                    "processor.chat_template to one of them."
                )
            template = template["default"]
        if template:
            return template
    return None


def render(processor: Any, template: str, messages: Sequence[dict[str, Any]], to_answer: bool = True) -> str:
    """The prompt that a chat template makes of messages whose contents are lists of parts.

    Some templates take messages without a picture as plain texts only: they get them so where lists fail.

    Args:
        to_answer: whether the prompt ends where an answer begins.

    Raises:
        InputError: the template takes no such messages.
    """
    plain = [message | {"content": _plain(message["content"])} for message in messages]
    with in_a_sentence(
        "The model's chat template takes no messages of pictures and texts like these",
        "change the messages, or set processor.chat_template to one that takes them",
    ):
        try:
            return _render(processor, template, messages, to_answer)
        except FAILURES:
            if plain == list(messages):
                raise
            try:
                return _render(processor, template, plain, to_answer)
            except FAILURES:
                pass
            raise


def _render(processor: Any, template: str, messages: Sequence[dict[str, Any]], to_answer: bool) -> str:
    prompt: str = processor.apply_chat_template(
        [dict(message) for message in messages], chat_template=template, add_generation_prompt=to_answer
    )
    lists = [message["content"] for message in messages if not isinstance(message["content"], str)]
    if any(str(content) in prompt for content in lists if content):
        raise ValueError("it writes a message's parts as a Python list")
    return prompt


def _plain(parts: list[dict[str, Any]]) -> list[dict[str, Any]] | str:
    """A message's text, where it holds no picture."""
    if any(part["type"] != "text" for part in parts):
        return parts
    return "\n".join(part["text"] for part in parts)


def complete(processor: Any, config: PreTrainedConfig) -> None:
    """Fill in what folders from before processors expanded placeholders leave out: how many visual tokens a picture
    makes. The model's config says it. Other processors stay as they are."""
    vision = config.vision_config
    facts = {
        "vision_feature_select_strategy": lambda: config.vision_feature_select_strategy,
        "patch_size": lambda: vision.patch_size,
        "num_image_tokens": lambda: (vision.image_size // vision.patch_size) ** 2,
    }
    for name, fact in facts.items():
        if hasattr(processor, name) and getattr(processor, name) is None:
            setattr(processor, name, fact())
    if hasattr(processor, "num_additional_image_tokens") and config.model_type in ("llava", "llava_next"):
        # 0 also means that the folder says nothing
        processor.num_additional_image_tokens = int(has_class_token(config))


def _reason(error: Exception) -> str:
    """The first line of what the error says, with its kind where that alone is no sentence."""
    line = (str(error).strip().splitlines() or [""])[0][:LONGEST_REASON].rstrip(".: ")
    return line if isinstance(error, ValueError | TemplateError) and line else f"{type(error).__name__} {line}".strip()
