"""Law 7: the authors' own numbers (tests/data/official_skip_vision.npz)."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, DynamicCache, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutputWithPooling

from skipcore import SkipVision
from skipcore.plan.merge import merge_tokens

IMAGE_TOKEN = 64


@pytest.fixture(scope="module")
def official() -> dict[str, torch.Tensor]:
    with np.load(Path(__file__).parents[2] / "data" / "official_skip_vision.npz") as data:
        return {name: torch.from_numpy(data[name]) for name in data.files}


@pytest.fixture(scope="module")
def model() -> LlavaForConditionalGeneration:
    """A stock LLaVA around the authors' decoder; one token more for the picture's places."""
    config = LlavaConfig(
        text_config=LlamaConfig(
            hidden_size=256,
            intermediate_size=512,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=IMAGE_TOKEN + 1,
            rms_norm_eps=1e-6,
            rope_theta=10000,
        ),
        vision_config=CLIPVisionConfig(
            hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
        ),
        image_token_index=IMAGE_TOKEN,
    )
    model = LlavaForConditionalGeneration(config).eval().requires_grad_(False)
    for name, weight in model.get_decoder().state_dict().items():
        shape = (IMAGE_TOKEN, 256) if name == "embed_tokens.weight" else tuple(weight.shape)
        drawn = 0.05 * np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
        weight[: shape[0]] = torch.tensor(drawn, dtype=torch.float32) + name.endswith("norm.weight")
    return model


def test_merge(official: dict[str, torch.Tensor]) -> None:
    features = official["features"][100:]
    merge = merge_tokens(features, 156, "redundancy")
    sums = torch.zeros(156, 256).index_add(0, merge.assignment, features)
    merged = sums / torch.bincount(merge.assignment)[:, None]
    torch.testing.assert_close(merged, official["merged"], rtol=0, atol=1e-5)


def test_prefill_and_decode(official: dict[str, torch.Tensor], model: LlavaForConditionalGeneration) -> None:
    before, after = official["text_before"].long(), official["text_after"].long()
    ids = torch.cat([before, torch.full((576,), IMAGE_TOKEN), after])[None]
    features = {"image": BaseModelOutputWithPooling(pooler_output=[official["features"]])}
    cache = DynamicCache(config=model.config)
    with SkipVision.paper("llava")(model) as session, torch.inference_mode():
        prefill = model.model(input_ids=ids, mm_encoder_outputs=features, past_key_values=cache, use_cache=True)
        decoded = [
            model.model(input_ids=token.long().view(1, 1), past_key_values=cache, use_cache=True).last_hidden_state[
                0, 0
            ]
            for token in official["decoded"]
        ]
    torch.testing.assert_close(prefill.last_hidden_state[0, -12:], official["prefill_hidden"], rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.stack(decoded), official["decode_hidden"], rtol=0, atol=1e-5)
    assert session.trace.kv_tokens.tolist() == [7 + 100 + 2 + 12] * 3
