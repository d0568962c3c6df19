"""Tiny random models of every family's real classes with their real processors, built in code, from nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any
from unittest.mock import patch

import torch
import transformers
from tiny_tokenizer import END, IMAGE, SPECIAL, START, VIDEO, VOCABULARY, tokenizer

from skipcore import Vlm
from skipcore.families import family_of

WIDTH, HEADS, LAYERS, FFN = 32, 4, 3, 48
TEXT = {
    "vocab_size": VOCABULARY,
    **{f"{name}_token_id": number for name, number in SPECIAL.items()},
    "hidden_size": WIDTH,
    "intermediate_size": FFN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
SIGLIP = {
    "hidden_size": WIDTH,
    "intermediate_size": FFN,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "image_size": 32,
    "patch_size": 4,
}


def llava() -> tuple[Any, Any]:
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**SIGLIP),
        text_config=transformers.LlamaConfig(**TEXT),
        image_token_index=IMAGE,
        image_seq_length=64,
        vision_feature_layer=-1,
    )
    processor = transformers.LlavaProcessor(
        image_processor=transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32),
        tokenizer=tokenizer(image_token="<image>"),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    return transformers.LlavaForConditionalGeneration(config), processor


PINPOINTS = [[32, 64], [64, 32], [64, 64], [32, 96], [96, 32]]


def llava_next() -> tuple[Any, Any]:
    config = transformers.LlavaNextConfig(
        vision_config=transformers.CLIPVisionConfig(**SIGLIP),
        text_config=transformers.LlamaConfig(**TEXT),
        image_token_index=IMAGE,
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=-1,
    )
    processor = transformers.LlavaNextProcessor(
        image_processor=transformers.LlavaNextImageProcessor(
            size={"shortest_edge": 32}, crop_size=32, image_grid_pinpoints=PINPOINTS
        ),
        tokenizer=tokenizer(image_token="<image>"),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    return transformers.LlavaNextForConditionalGeneration(config), processor


def llava_onevision() -> tuple[Any, Any]:
    config = transformers.LlavaOnevisionConfig(
        vision_config=transformers.SiglipVisionConfig(**SIGLIP, vision_use_head=False),
        text_config=transformers.Qwen2Config(**TEXT),
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_2",
    )
    processor = transformers.LlavaOnevisionProcessor(
        image_processor=transformers.LlavaOnevisionImageProcessor(
            size={"height": 32, "width": 32}, image_grid_pinpoints=PINPOINTS
        ),
        tokenizer=tokenizer(image_token="<image>", video_token="<video>"),
        video_processor=transformers.LlavaOnevisionVideoProcessor(size={"height": 32, "width": 32}),
        num_image_tokens=64,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_2",
    )
    return transformers.LlavaOnevisionForConditionalGeneration(config), processor


MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
QWEN_IDS = {
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "vision_start_token_id": START,
    "vision_end_token_id": END,
}
PIXELS = {"size": {"shortest_edge": 64, "longest_edge": 64 * 64}, "patch_size": 4, "merge_size": 2}


def qwen(generation: str) -> Callable[[], tuple[Any, Any]]:
    def build() -> tuple[Any, Any]:
        name = {"2": "Qwen2VL", "2.5": "Qwen2_5_VL", "3": "Qwen3VL", "3 MoE": "Qwen3VLMoe"}[generation]
        seeing = {"depth": 2, "num_heads": HEADS, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2}
        text = dict(TEXT, rope_parameters=MROPE)
        if generation == "2":
            seeing |= {"embed_dim": WIDTH, "hidden_size": WIDTH, "mlp_ratio": 2}
        else:
            seeing |= {"hidden_size": WIDTH, "intermediate_size": FFN, "out_hidden_size": WIDTH}
        if generation == "2.5":
            seeing |= {"window_size": 16, "fullatt_block_indexes": [1]}
        if generation.startswith("3"):
            seeing |= {"deepstack_visual_indexes": [0, 1], "num_position_embeddings": 64}
            text |= {"head_dim": 8}
        if generation == "3 MoE":
            text |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "decoder_sparse_step": 1}
        config = getattr(transformers, f"{name}Config")(text_config=text, vision_config=seeing, **QWEN_IDS)
        if generation.startswith("3"):
            processor = transformers.Qwen3VLProcessor(
                image_processor=transformers.Qwen2VLImageProcessor(**PIXELS),
                tokenizer=tokenizer(
                    image_token="<image>",
                    video_token="<video>",
                    vision_start_token="<start>",
                    vision_end_token="<end>",
                ),
                video_processor=transformers.Qwen3VLVideoProcessor(**PIXELS),
            )
        else:
            kind = getattr(transformers, f"{name}Processor")
            processor = kind(
                image_processor=transformers.Qwen2VLImageProcessor(**PIXELS),
                tokenizer=tokenizer(image_token="<image>", video_token="<video>"),
                video_processor=transformers.Qwen2VLVideoProcessor(**PIXELS),
            )
        return getattr(transformers, f"{name}ForConditionalGeneration")(config), processor

    return build


IDEFICS3_TOKENS = {
    "fake_image_token": "<fake_token_around_image>",
    "image_token": "<image>",
    "end_of_utterance_token": "<end_of_utterance>",
    "global_image_token": "<global-img>",
}


def smolvlm() -> tuple[Any, Any]:
    config = transformers.SmolVLMConfig(
        vision_config=SIGLIP, text_config=transformers.LlamaConfig(**TEXT), image_token_id=IMAGE, scale_factor=2
    )
    processor = transformers.SmolVLMProcessor(
        image_processor=transformers.SmolVLMImageProcessor(
            size={"longest_edge": 96}, max_image_size={"longest_edge": 32}
        ),
        tokenizer=tokenizer(**IDEFICS3_TOKENS),
        video_processor=transformers.SmolVLMVideoProcessor(
            size={"longest_edge": 32}, max_image_size={"longest_edge": 32}, video_sampling={"max_frames": 8, "fps": 1}
        ),
        image_seq_len=16,
    )
    return transformers.SmolVLMForConditionalGeneration(config), processor


def idefics3() -> tuple[Any, Any]:
    config = transformers.Idefics3Config(
        vision_config=SIGLIP, text_config=transformers.LlamaConfig(**TEXT), image_token_id=IMAGE, scale_factor=2
    )
    processor = transformers.Idefics3Processor(
        image_processor=transformers.Idefics3ImageProcessor(
            size={"longest_edge": 96}, max_image_size={"longest_edge": 32}
        ),
        tokenizer=tokenizer(**IDEFICS3_TOKENS),
        image_seq_len=16,
    )
    return transformers.Idefics3ForConditionalGeneration(config), processor


def internvl() -> tuple[Any, Any]:
    seeing = dict(SIGLIP, image_size=[32, 32], patch_size=[4, 4])
    config = transformers.InternVLConfig(
        vision_config=seeing,
        text_config=transformers.Qwen2Config(**TEXT),
        image_token_id=IMAGE,
        image_seq_length=16,
        downsample_ratio=0.5,
    )
    processor = transformers.InternVLProcessor(
        image_processor=transformers.GotOcr2ImageProcessor(
            size={"height": 32, "width": 32}, crop_to_patches=True, min_patches=1, max_patches=6
        ),
        tokenizer=tokenizer(
            start_image_token="<start>",
            end_image_token="<end>",
            context_image_token="<image>",
            video_token="<video>",
        ),
        video_processor=transformers.InternVLVideoProcessor(size={"height": 32, "width": 32}),
        image_seq_length=16,
    )
    return transformers.InternVLForConditionalGeneration(config), processor


def gemma3() -> tuple[Any, Any]:
    text = transformers.Gemma3TextConfig(
        **TEXT,
        head_dim=8,
        sliding_window=24,
        layer_types=["sliding_attention"] * (TEXT["num_hidden_layers"] - 1) + ["full_attention"],
    )
    config = transformers.Gemma3Config(
        text_config=text,
        vision_config=SIGLIP,
        mm_tokens_per_image=16,
        image_token_index=IMAGE,
        boi_token_index=START,
        eoi_token_index=END,
    )
    processor = transformers.Gemma3Processor(
        image_processor=transformers.Gemma3ImageProcessor(size={"height": 32, "width": 32}),
        tokenizer=tokenizer(image_token="<image>", boi_token="<start>", eoi_token="<end>"),
        image_seq_length=16,
    )
    return transformers.Gemma3ForConditionalGeneration(config), processor


PIXTRAL = dict(SIGLIP, image_size=64)
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 128.0,
    "original_max_position_embeddings": 32,  # so low that queries are scaled by their positions
    "llama_4_scaling_beta": 0.1,
}


def pixtral_processor(merged: int) -> transformers.PixtralProcessor:
    return transformers.PixtralProcessor(
        image_processor=transformers.PixtralImageProcessor(size={"longest_edge": 64}, patch_size=4),
        tokenizer=tokenizer(),
        patch_size=4,
        spatial_merge_size=merged,
        image_token="<image>",
        image_break_token="<start>",
        image_end_token="<end>",
    )


def pixtral() -> tuple[Any, Any]:
    config = transformers.LlavaConfig(
        vision_config=transformers.PixtralVisionConfig(**PIXTRAL),
        text_config=transformers.MistralConfig(**TEXT, head_dim=8, sliding_window=None),
        image_token_index=IMAGE,
        image_seq_length=1,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    return transformers.LlavaForConditionalGeneration(config), pixtral_processor(merged=1)


def mistral3(text: type[transformers.PreTrainedConfig], **options: Any) -> Callable[[], tuple[Any, Any]]:
    def build() -> tuple[Any, Any]:
        config = transformers.Mistral3Config(
            vision_config=transformers.PixtralVisionConfig(**PIXTRAL),
            text_config=text(**TEXT, head_dim=8, sliding_window=None, **options),
            image_token_index=IMAGE,
        )
        return transformers.Mistral3ForConditionalGeneration(config), pixtral_processor(merged=2)

    return build


GLM_ROPE = dict(MROPE, partial_rotary_factor=1.0)
GLM_TOKENS = "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"


def glm4v(name: str, processors: str = "Glm4v", **text: Any) -> Callable[[], tuple[Any, Any]]:
    def build() -> tuple[Any, Any]:
        seeing = {"depth": 2, "num_heads": HEADS, "hidden_size": WIDTH, "intermediate_size": FFN}
        seeing |= {"out_hidden_size": WIDTH, "image_size": 32, "patch_size": 4}
        text_config = TEXT | text | {"vocab_size": VOCABULARY + len(GLM_TOKENS), "rope_parameters": GLM_ROPE}
        config = getattr(transformers, f"{name}Config")(
            text_config=text_config, vision_config=seeing, image_token_id=IMAGE, video_token_id=VIDEO
        )
        processor = getattr(transformers, f"{processors}Processor")(
            image_processor=getattr(transformers, f"{processors}ImageProcessor")(**PIXELS),
            tokenizer=tokenizer(*GLM_TOKENS, image_token="<image>", video_token="<video>"),
            video_processor=getattr(transformers, f"{processors}VideoProcessor")(**PIXELS),
        )
        return getattr(transformers, f"{name}ForConditionalGeneration")(config), processor

    return build


BUILDERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "LLaVA": llava,
    "LLaVA-NeXT": llava_next,
    "LLaVA-OneVision": llava_onevision,
    "Qwen2-VL": qwen("2"),
    "Qwen2.5-VL": qwen("2.5"),
    "Qwen3-VL": qwen("3"),
    "Qwen3-VL-MoE": qwen("3 MoE"),
    "SmolVLM": smolvlm,
    "Idefics3": idefics3,
    "InternVL": internvl,
    "Gemma 3": gemma3,
    "Pixtral": pixtral,
    "Mistral 3": mistral3(transformers.MistralConfig),
    "Ministral 3": mistral3(transformers.Ministral3Config, rope_parameters=YARN),
    "GLM-4.1V": glm4v("Glm4v"),
    "GLM-4.5V": glm4v("Glm4vMoe", n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, head_dim=8),
    "GLM-4.6V": glm4v("Glm46V", "Glm46V"),
}


@cache
def tiny_model(name: str, layers: int = LAYERS) -> Vlm:
    """A model of a family, with weights large enough for every path to matter."""
    torch.manual_seed(3)
    with torch.inference_mode(False), patch.dict(TEXT, num_hidden_layers=layers):  # whoever asks first
        model, processor = BUILDERS[name]()
        generator = torch.Generator().manual_seed(1)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.data.normal_(0, 0.15, generator=generator)
    return Vlm(model.eval().requires_grad_(False), processor, family_of(model.config), name)


@cache
def untouched_model(name: str) -> Vlm:
    """Another one, for tests that look at hooks: transformers leaves some of its own on a model that was once asked for
    hidden states."""
    return tiny_model.__wrapped__(name)
