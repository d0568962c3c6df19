"""Conversations about pictures for tests of fine-tuning, and a chat template that every tiny processor takes."""

from __future__ import annotations

import copy
from typing import Any

import torch
from shared_models import noise_picture
from tiny_families import tiny_model

from skipcore import Vlm
from skipcore.families import family_of
from skipcore.finetune.rows import Row

MARKED = (
    "{% for message in messages %}{{ message['role'] }}: "
    "{% if message['role'] == 'assistant' %}{% generation %}"
    "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}</s>{% endgeneration %}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)
UNMARKED = MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")
AROUND = {"Qwen": "<start>{}<end>", "GLM": "<|begin_of_image|>{}<|end_of_image|>"}


def processor_of(name: str, template: str = MARKED) -> Any:
    """A copy of a tiny model's processor with a chat template, pictures set apart as the model's position ids ask."""
    processor = copy.deepcopy(tiny_model(name).processor)
    around = next((text for family, text in AROUND.items() if name.startswith(family)), "{}")
    processor.chat_template = template.replace("IMAGE", around.format(processor.image_token))
    return processor


def trainable(name: str, layers: int = 3) -> Vlm:
    """A copy of a tiny model of a family to train: nothing that others share."""
    shared = tiny_model(name, layers)
    model = type(shared.model)(shared.model.config)
    model.load_state_dict(shared.model.state_dict())
    return Vlm(model.train(), processor_of(name), family_of(model.config), name)


def row(question: str, answer: str, *pictures: int) -> Row:
    """A question about noise pictures, given by their seeds."""
    parts = [{"type": "image"} for _ in pictures] + [{"type": "text", "text": question}]
    answered = [{"type": "text", "text": answer}]
    messages = {"role": "user", "content": parts}, {"role": "assistant", "content": answered}
    return Row(messages, tuple(noise_picture(seed) for seed in pictures))


ROWS = [
    row("What?", "a cat", 0),
    row("Which of these two?", "the second one", 1, 2),
    row("And without any picture, what do you say now?", "nothing"),
    row("Where is it?", "over there, behind", 3),
]
MULTI_TURN = Row(
    (
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A dog."}]},
        {"role": "user", "content": [{"type": "text", "text": "And here?"}, {"type": "image"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Two cats."}]},
    ),
    (noise_picture(5), noise_picture(6)),
)


def learned(tokenizer, batch: dict[str, torch.Tensor]) -> list[str]:
    """What each row of a batch learns, decoded."""
    return [tokenizer.decode(labels[labels != -100]) for labels in batch["labels"]]
