"""The untrained built-in model: a small stock `LlavaForConditionalGeneration` with its tokenizer and processor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from skipcore.builtin.questions.questions import every_answer, every_phrase
from skipcore.builtin.scenes.easy_scenes import every_easy_phrase

IMAGE_SIDE = 336
PATCH_SIDE = 14
GRID = IMAGE_SIDE // PATCH_SIDE
ROPE_THETA = 500_000.0
"""As Llama 3's: slow enough that a question word still meets its likeness among 576 visual tokens."""
QUERY_SHARE = 0.8
"""How much of a decoder's key projection is, at the start, its query projection."""
QUERY_GAIN = 3.0
"""Queries and keys start this much larger than the other weights, so that likeness shows in the attention."""
COPY_GAIN = 0.1
"""How much of what a token attends to it takes over unchanged at the start."""
PAD, END, IMAGE = "<pad>", "</s>", "<image>"

# LLaVA-1.5's form of a question. Only the last one is put: the model is trained on one question at a time.
CHAT_TEMPLATE = (
    "USER: "
    "{% for message in messages if message['content'] is not string %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% endfor %}"
    "{% set question = (messages | selectattr('role', 'equalto', 'user') | list | last)['content'] %}"
    "{% if question is string %}{{ question }}{% else %}"
    "{% for part in question if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}"
    " ASSISTANT:"
    "{% if messages[-1]['role'] == 'assistant' %}"
    "{% set answer = messages[-1]['content'] %}"
    "{% generation %} {% if answer is string %}{{ answer }}{% else %}"
    "{% for part in answer if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}</s>{% endgeneration %}"
    "{% endif %}"
)
PROMPT_START = "USER: "
"""What stands before the image tokens."""


def prompt_end(question: str) -> str:
    """What stands between the image tokens and the answer."""
    return f"\n{question} ASSISTANT:"


def answer_text(answer: str) -> str:
    """What the model is to write."""
    return f" {answer}{END}"


@dataclass(frozen=True)
class ModelSize:
    """Widths, depths and heads of the built-in model's tower and decoder, and the size of its vocabulary."""

    tower_width: int = 192
    tower_layers: int = 4
    tower_heads: int = 4
    tower_ffn: int = 768
    decoder_width: int = 192
    decoder_layers: int = 5
    decoder_heads: int = 4
    decoder_ffn: int = 512
    vocabulary: int = 2048


def build_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer learned from the questions; it can encode any text without loss."""
    phrases = every_easy_phrase() + every_phrase()
    phrases += [phrase.capitalize() for phrase in phrases]
    texts = [f"{PROMPT_START}{prompt_end(phrase)}" for phrase in phrases]
    texts += [answer_text(answer) for answer in every_answer() for _ in range(20)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, END, IMAGE],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens={"image_token": IMAGE},
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )


def build_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """A stock processor that resizes the whole picture to 336 x 336, so that nothing of it is lost."""
    image_processor = CLIPImageProcessor(
        size={"height": IMAGE_SIDE, "width": IMAGE_SIDE},
        crop_size={"height": IMAGE_SIDE, "width": IMAGE_SIDE},
        do_center_crop=False,
        do_convert_rgb=True,
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=PATCH_SIDE,
        vision_feature_select_strategy="default",
        image_token=IMAGE,
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: PreTrainedTokenizerFast, size: ModelSize, seed: int) -> LlavaForConditionalGeneration:
    """The model with random weights.

    The tower's positions start as smooth waves, so that they can be interpolated. The decoder's keys start near its
    queries, so that like attends to like from the first step on (mimetic initialization, Trockman and Kolter 2023,
    arXiv 2305.09828).
    """
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=size.tower_width,
            intermediate_size=size.tower_ffn,
            projection_dim=size.tower_width,
            num_hidden_layers=size.tower_layers,
            num_attention_heads=size.tower_heads,
            image_size=IMAGE_SIDE,
            patch_size=PATCH_SIDE,
        ),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=size.decoder_width,
            intermediate_size=size.decoder_ffn,
            num_hidden_layers=size.decoder_layers,
            num_attention_heads=size.decoder_heads,
            num_key_value_heads=size.decoder_heads,
            max_position_embeddings=2048,
            rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            tie_word_embeddings=True,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=GRID * GRID,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config)
    positions: nn.Embedding = model.model.vision_tower.embeddings.position_embedding
    with torch.no_grad():
        positions.weight[1:] = 0.3 * waves(GRID, size.tower_width)
        for layer in model.model.language_model.layers:
            query, key = layer.self_attn.q_proj.weight, layer.self_attn.k_proj.weight
            query.mul_(QUERY_GAIN)
            key.mul_(QUERY_GAIN * math.sqrt(1 - QUERY_SHARE**2)).add_(query, alpha=QUERY_SHARE)
            nn.init.orthogonal_(layer.self_attn.v_proj.weight)
            layer.self_attn.o_proj.weight.copy_(COPY_GAIN * layer.self_attn.v_proj.weight.T)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, max_new_tokens=128
    )
    return model


def waves(grid: int, width: int) -> Tensor:
    """Sine and cosine of each place's row and column in several wavelengths. [grid², width]"""
    lengths = torch.logspace(math.log10(3.0), math.log10(4.0 * grid), width // 4)
    turns = torch.arange(grid).unsqueeze(1) * (2 * math.pi / lengths)
    along = torch.cat([turns.sin(), turns.cos()], dim=1)
    rows = along.unsqueeze(1).expand(grid, grid, -1)
    columns = along.unsqueeze(0).expand(grid, grid, -1)
    return torch.cat([rows, columns], dim=2).reshape(grid * grid, -1)


def save(model: LlavaForConditionalGeneration, processor: LlavaProcessor, folder: Path) -> None:
    """Write model, generation settings and processor the stock way."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
