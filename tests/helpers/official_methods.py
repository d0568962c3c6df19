"""Weights and inputs of tests/data/official_methods, rebuilt from their recipe (its README)."""

from __future__ import annotations

import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPVisionConfig, DynamicCache, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutputWithPooling

from skipcore import Method, Vlm
from skipcore.families import family_of
from skipcore.trace import Trace

DATA = Path(__file__).parents[1] / "data" / "official_methods"
WIDTH, BEFORE, IMAGE = 64, 35, 101


def draw(name: str, shape: tuple[int, ...], scale: float) -> Tensor:
    drawn = scale * np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    return torch.from_numpy(drawn.astype(np.float32))


def arrays(name: str, start: str = "") -> dict[str, Tensor]:
    """The arrays of a file whose names begin so, by the rest of their names."""
    with np.load(DATA / f"{name}.npz") as data:
        return {key.removeprefix(start): torch.from_numpy(data[key]) for key in data.files if key.startswith(start)}


@cache
def model() -> LlavaForConditionalGeneration:
    """A stock LLaVA around the recipe's decoder and tower; the tower's features reach the decoder as they are."""
    shape = {"hidden_size": WIDTH, "intermediate_size": 128, "num_hidden_layers": 24, "num_attention_heads": 4}
    config = LlavaConfig(
        text_config=LlamaConfig(
            **shape,
            num_key_value_heads=4,
            vocab_size=IMAGE + 1,
            rms_norm_eps=1e-6,
            rope_theta=10000,
            max_position_embeddings=4096,
        ),
        vision_config=CLIPVisionConfig(**shape, image_size=336, patch_size=14, hidden_act="quick_gelu"),
        image_token_index=IMAGE,
        vision_feature_layer=-2,
        tie_word_embeddings=False,
    )
    llava = LlavaForConditionalGeneration(config).eval().requires_grad_(False)
    decoder, tower = llava.get_decoder(), llava.model.vision_tower
    for name, weight in decoder.state_dict().items():
        if name == "embed_tokens.weight":
            weight[:IMAGE] = draw(name, (IMAGE, WIDTH), 1.0)
        elif name.endswith("norm.weight"):
            weight.copy_(1 + draw(name, tuple(weight.shape), 0.1))
        else:
            weight.copy_(draw(name, tuple(weight.shape), 0.14))
    llava.lm_head = torch.nn.Linear(WIDTH, IMAGE, bias=False)  # no row for the picture's token
    llava.lm_head.weight = torch.nn.Parameter(draw("lm_head.weight", (IMAGE, WIDTH), 0.14), requires_grad=False)
    for name, weight in tower.state_dict().items():
        if weight.is_floating_point():
            weight.copy_(_of_tower("clip." + name.removeprefix("vision_model."), tuple(weight.shape)))
    llava.model.multi_modal_projector = torch.nn.Identity()
    return llava


def vlm() -> Vlm:
    """The same without a processor: it is given features."""
    return Vlm(model(), None, family_of(model().config), "recipe")


def _of_tower(key: str, shape: tuple[int, ...]) -> Tensor:
    if "norm" in key and key.endswith("weight"):
        return 1 + draw(key, shape, 0.1)
    if key.endswith("bias") or "patch_embedding" in key:
        return draw(key, shape, 0.05)
    return draw(key, shape, 0.3 if "embedding" in key else 0.12)


class Inputs:
    """Prompt and decoded tokens of a seed.

    Args:
        num_features: so many features are drawn by themselves; None: the recipe's 576.
    """

    def __init__(self, seed: int = 0, num_features: int | None = None) -> None:
        random = np.random.RandomState(1000 + seed)
        before, after, self.decoded = (torch.from_numpy(random.randint(0, 101, count)) for count in (BEFORE, 20, 3))
        if num_features is not None:
            random = np.random.RandomState(3000 + seed)
        centers = random.standard_normal((24, WIDTH))
        kind = random.randint(0, 24, num_features or 576)
        drawn = centers[kind] + 0.6 * random.standard_normal((len(kind), WIDTH))
        self.features = torch.from_numpy(drawn.astype(np.float32))
        self.ids = torch.cat([before, torch.full((len(kind),), IMAGE), after])[None]

    def encoded(self) -> dict[str, Any]:
        """The model's keyword arguments."""
        return {
            "input_ids": self.ids,
            "mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=[self.features])},
        }


def pixels(seed: int) -> Tensor:
    """[1, 3, 336, 336] the picture of a seed."""
    random = np.random.RandomState(5000 + seed)
    kinds, which = random.standard_normal((30, 3, 14, 14)), random.randint(0, 30, (24, 24))
    picture = np.empty((3, 336, 336))
    for i in range(24):
        for j in range(24):
            patch = kinds[which[i, j]] + 0.35 * random.standard_normal((3, 14, 14))
            picture[:, 14 * i : 14 * i + 14, 14 * j : 14 * j + 14] = patch
    return torch.from_numpy(picture.astype(np.float32))[None]


def run(method: Method, inputs: dict[str, Any], decoded: Tensor) -> tuple[Tensor, Trace, list[int]]:
    """[1 + decoded, 101] logits at the prompt's last token and at each decoded one, the trace, and the keys stored in
    each layer in the end."""
    llava, cache = model(), DynamicCache(config=model().config)
    with method(llava) as session, torch.inference_mode():
        logits = [llava(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[0, -1]]
        for token in decoded:
            logits.append(llava(input_ids=token.view(1, 1), past_key_values=cache, use_cache=True).logits[0, -1])
        trace = session.trace
    return torch.stack(logits), trace, [layer.keys.shape[-2] for layer in cache.layers]


def entering(trace: Trace, layer: int) -> list[int]:
    """The visual tokens that enter a layer, 0 … 575."""
    return trace.slot_token[trace.entered[layer] & (trace.slot_token >= 0)].tolist()


def close(actual: Tensor, expected: Tensor, atol: float = 2e-5) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)
