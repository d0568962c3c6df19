"""A LLaVA of any size with random weights and a real processor, built in code: for benchmarks and tests."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from skipcore.families import LLAVA
from skipcore.vlm import Vlm

SPECIAL_TOKENS = ("<pad>", "</s>", "<image>")


def random_llava(
    hidden_size: int = 384,
    num_layers: int = 8,
    num_heads: int = 6,
    num_key_value_heads: int = 2,
    intermediate_size: int | None = None,
    image_size: int = 336,
    patch_size: int = 14,
    vision_width: int = 64,
    vision_layers: int = 1,
    seed: int = 0,
) -> Vlm:
    """A float32 LLaVA on the CPU; by default 576 visual tokens and the proportions of LLaMA-3 8B, the paper's decoder.

    Args:
        hidden_size: width of the decoder, a multiple of `num_heads`.
        intermediate_size: width of the FFN; default 3.5 · hidden_size, as in LLaMA-3 8B.
        image_size, patch_size: side of the picture and of a patch in pixels; (image_size / patch_size)² visual tokens.
        vision_width, vision_layers: size of the CLIP tower.
        seed: of the weights. The global random state is left as it was.
    """
    tokenizer = byte_tokenizer()
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=vision_width,
            intermediate_size=2 * vision_width,
            num_hidden_layers=vision_layers,
            num_attention_heads=2,
            image_size=image_size,
            patch_size=patch_size,
        ),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden_size,
            intermediate_size=intermediate_size or hidden_size * 7 // 2,
            num_hidden_layers=num_layers,
            num_attention_heads=num_heads,
            num_key_value_heads=num_key_value_heads,
            max_position_embeddings=8192,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config).eval().requires_grad_(False)
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"height": image_size, "width": image_size},
            crop_size={"height": image_size, "width": image_size},
            do_center_crop=False,
        ),
        tokenizer=tokenizer,
        patch_size=patch_size,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
    )
    return Vlm(model, processor, LLAVA, f"random LLaVA (d={hidden_size}, {num_layers} layers)")


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte: encodes any text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*SPECIAL_TOKENS, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
        padding_side="left",
    )
