"""Stock models of any size with random weights and real processors, built in code: for benchmarks and tests.

Vision towers are small: what is measured starts behind them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from skipcore import Vlm
from skipcore.families import family_of


@dataclass(frozen=True)
class DecoderSize:
    """Size of a decoder; by default the proportions of LLaMA-3 8B, the paper's decoder.

    Attributes:
        hidden_size: width, a multiple of 2 · num_heads.
        intermediate_size: width of the FFN; None: 3.5 · hidden_size, as in LLaMA-3 8B.
    """

    hidden_size: int = 384
    num_layers: int = 8
    num_heads: int = 6
    num_key_value_heads: int = 2
    intermediate_size: int | None = None

    def text_config(self, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
        """Return what the text configs of all families take."""
        return {
            "vocab_size": len(tokenizer),
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size or self.hidden_size * 7 // 2,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "max_position_embeddings": 32_768,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
        }

    @property
    def mrope_section(self) -> list[int]:
        """The number of a head's frequencies that turn by time, by row and by column: 2 : 3 : 3, as in Qwen2.5-VL."""
        frequencies = self.hidden_size // self.num_heads // 2
        of_row = frequencies * 3 // 8
        return [frequencies - 2 * of_row, of_row, of_row]


DEFAULT_SIZE = DecoderSize()


def random_llava(
    size: DecoderSize = DEFAULT_SIZE,
    image_size: int = 336,
    patch_size: int = 14,
    vision_width: int = 64,
    seed: int = 0,
) -> Vlm:
    """Build a float32 LLaVA on the CPU: (image_size / patch_size)² visual tokens whatever the picture, by default 576.

    Args:
        image_size, patch_size: side of the picture and of a patch in pixels.
        vision_width: of the CLIP tower of one layer.
        seed: of the weights. The global random state is left as it was.
    """
    tokenizer = byte_tokenizer(image_token="<image>")
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            **_tower(vision_width), image_size=image_size, patch_size=patch_size
        ),
        text_config=transformers.LlamaConfig(**size.text_config(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    square = {"height": image_size, "width": image_size}
    processor = transformers.LlavaProcessor(
        image_processor=transformers.CLIPImageProcessor(size=square, crop_size=square, do_center_crop=False),
        tokenizer=tokenizer,
        patch_size=patch_size,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
    )
    return _vlm("LLaVA", size, seed, lambda: transformers.LlavaForConditionalGeneration(config), processor)


def random_qwen2_5_vl(
    size: DecoderSize = DEFAULT_SIZE, patch_size: int = 14, vision_width: int = 64, seed: int = 0
) -> Vlm:
    """Build a float32 Qwen2.5-VL on the CPU: one visual token for every 2 × 2 patches of the picture, 576 for 672 × 672
    pixels. See `random_llava` for the arguments."""
    special = {
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "vision_start_token": "<|vision_start|>",
        "vision_end_token": "<|vision_end|>",
    }
    tokenizer = byte_tokenizer(**special)
    config = transformers.Qwen2_5_VLConfig(
        vision_config={
            "depth": 1,
            "hidden_size": vision_width,
            "intermediate_size": 2 * vision_width,
            "num_heads": 2,
            "out_hidden_size": size.hidden_size,
            "patch_size": patch_size,
            "window_size": 8 * patch_size,
            "fullatt_block_indexes": [],
        },
        text_config=size.text_config(tokenizer)
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": size.mrope_section}},
        **{f"{name}_id": tokenizer.convert_tokens_to_ids(token) for name, token in special.items()},
    )
    processor = transformers.Qwen2_5_VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(
            patch_size=patch_size, merge_size=2, size={"shortest_edge": 56 * 56, "longest_edge": 16_384 * 28 * 28}
        ),
        tokenizer=tokenizer,
        video_processor=transformers.Qwen2VLVideoProcessor(patch_size=patch_size, merge_size=2),
    )
    return _vlm("Qwen2.5-VL", size, seed, lambda: transformers.Qwen2_5_VLForConditionalGeneration(config), processor)


def random_smolvlm(
    size: DecoderSize = DEFAULT_SIZE, image_size: int = 512, patch_size: int = 16, vision_width: int = 64, seed: int = 0
) -> Vlm:
    """Build a float32 SmolVLM on the CPU: 64 visual tokens for every tile of 512 × 512 pixels and as many for the whole
    picture, 576 for 4 × 2 tiles. A picture's longer side is made 4 tiles long. See `random_llava` for the arguments."""
    scale = 4
    special = {
        "image_token": "<image>",
        "fake_image_token": "<fake_token_around_image>",
        "global_image_token": "<global-img>",
        "end_of_utterance_token": "<end_of_utterance>",
    }
    positions = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    tokenizer = byte_tokenizer(*positions, **special)
    config = transformers.SmolVLMConfig(
        vision_config=_tower(vision_width) | {"image_size": image_size, "patch_size": patch_size},
        text_config=transformers.LlamaConfig(**size.text_config(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=scale,
        pad_token_id=tokenizer.pad_token_id,
    )
    tile = {"longest_edge": image_size}
    processor = transformers.SmolVLMProcessor(
        image_processor=transformers.SmolVLMImageProcessor(size={"longest_edge": 4 * image_size}, max_image_size=tile),
        tokenizer=tokenizer,
        video_processor=transformers.SmolVLMVideoProcessor(
            size=tile, max_image_size=tile, video_sampling={"max_frames": 8, "fps": 1}
        ),
        image_seq_len=(image_size // patch_size // scale) ** 2,
    )
    return _vlm("SmolVLM", size, seed, lambda: transformers.SmolVLMForConditionalGeneration(config), processor)


def random_picture(width: int, height: int) -> Image.Image:
    """Return a picture of noise, the same one at every call."""
    return Image.fromarray(np.random.RandomState(0).randint(0, 256, (height, width, 3), dtype=np.uint8))


def on_gpu(vlm: Vlm) -> Vlm:
    """Move a model to the GPU in bfloat16, where there is one; returns the model."""
    if torch.cuda.is_available():
        vlm.model.to("cuda", torch.bfloat16)
    return vlm


def byte_tokenizer(*more: str, **named: str) -> PreTrainedTokenizerFast:
    """Build a tokenizer with one token per byte, which encodes any text, and special tokens, some by the names that a
    processor asks for."""
    special = ["<pad>", "</s>", *named.values(), *more]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        extra_special_tokens=named,
        padding_side="left",
    )


def _tower(width: int) -> dict[str, int]:
    return {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }


def _vlm(family: str, size: DecoderSize, seed: int, build: Callable[[], PreTrainedModel], processor: Any) -> Vlm:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build().eval().requires_grad_(False)
    name = f"random {family} (d={size.hidden_size}, {size.num_layers} layers)"
    return Vlm(model, processor, family_of(model.config), name)
