"""What a session cannot heed it refuses with a sentence, whatever the method: attention matrices, packed sequences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from family_methods import METHODS, PEERS, SEEING_PEERS
from model_runs import logits
from shared_models import noise_picture
from tiny_families import BUILDERS, tiny_model
from transformers import DynamicCache

from skipcore import Dense, InputError, Method, Vlm

NAMES = ("masked", "FastV", "Uniform grid", "VisionZip")
SKIPPING: dict[str, Method] = {name: {**METHODS, **PEERS, **SEEING_PEERS}[name] for name in NAMES}
ONE_STEP = {"max_new_tokens": 1, "do_sample": False, "eos_token_id": -1}


def prompts(vlm: Vlm) -> list[dict[str, Any]]:
    asked = enumerate(("What color?", "Which shape is it?"))
    return [vlm.prepare(noise_picture(0, 48, 32 + 16 * number), question).inputs for number, question in asked]


@pytest.fixture(params=BUILDERS)
def vlm(request: pytest.FixtureRequest) -> Vlm:
    return tiny_model(request.param)


# Attention matrices


@contextmanager
def eager(vlm: Vlm, where: str) -> Iterator[None]:
    """Attention that can return its matrices; in the configs asked for them, too."""
    configs = {"config": vlm.model.config, "decoder's config": vlm.model.get_decoder().config}
    own = vlm.model.config._attn_implementation
    vlm.model.set_attn_implementation("eager")
    try:
        if where in configs:
            configs[where].output_attentions = True
        yield
    finally:
        if where in configs:
            configs[where].output_attentions = False
        vlm.model.generation_config.output_attentions = False
        vlm.model.set_attn_implementation(own)


@pytest.mark.parametrize("method", SKIPPING)
@pytest.mark.parametrize("where", ["keyword", "generate", "generation config", "config", "decoder's config", "decode"])
def test_attention_matrices_are_refused(method: str, where: str) -> None:
    vlm = tiny_model.__wrapped__("LLaVA")
    inputs = prompts(vlm)[0]
    with (
        eager(vlm, where),
        SKIPPING[method](vlm.model),
        pytest.raises(InputError, match="leave out output_attentions"),
    ):
        if where == "generate":
            vlm.model.generate(**inputs, **ONE_STEP, output_attentions=True, return_dict_in_generate=True)
        elif where == "generation config":
            vlm.model.generation_config.output_attentions = True
            vlm.model.generate(**inputs, **ONE_STEP, return_dict_in_generate=True)
        elif where == "decode":
            cache = DynamicCache(config=vlm.model.get_decoder().config)
            logits(vlm, inputs, past_key_values=cache, use_cache=True)
            logits(vlm, {"input_ids": torch.tensor([[70]])}, past_key_values=cache, output_attentions=True)
        else:
            logits(vlm, inputs, **({"output_attentions": True} if where == "keyword" else {}))


def test_a_run_that_skips_nothing_returns_its_attention_matrices() -> None:
    vlm = tiny_model.__wrapped__("LLaVA")
    with eager(vlm, "keyword"), torch.inference_mode():
        for method, inputs in ((Dense(), prompts(vlm)[0]), (METHODS["masked"], vlm.prepare([], "What?").inputs)):
            plain = vlm.model(**inputs, output_attentions=True).attentions
            with method(vlm.model):
                seen = vlm.model(**inputs, output_attentions=True).attentions
            assert len(seen) == len(plain) > 0
            assert all(torch.equal(own, expected) for own, expected in zip(seen, plain, strict=True))


# Packed sequences


def packed(vlm: Vlm) -> dict[str, Any]:
    """Two prompts in one row, without the positions."""
    first, second = prompts(vlm)
    along = {"input_ids": 1, "mm_token_type_ids": 1, "token_type_ids": 1, "pixel_attention_mask": 0}
    names = first.keys() - {"attention_mask"}
    return {name: torch.cat([first[name], second[name]], dim=along.get(name, 0)) for name in names}


def positions_of(vlm: Vlm, axes: int) -> torch.Tensor:
    """Of two packed prompts, beginning anew: [1, prompt], or [axes, 1, prompt] with the text's positions everywhere."""
    ids = torch.cat([torch.arange(each["input_ids"].shape[1]) for each in prompts(vlm)])[None]
    return ids if axes == 1 else ids.expand(axes, -1, -1)


@pytest.mark.parametrize("method", SKIPPING)
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("use_cache", [False, True])
@pytest.mark.parametrize("family", ["LLaVA", "Qwen2-VL", "Gemma 3"])
def test_packed_sequences_are_refused(family: str, method: str, mask: bool, use_cache: bool) -> None:
    vlm = tiny_model(family)
    inputs = packed(vlm)
    if mask:
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    for axes in (3, 4) if family == "Qwen2-VL" else (1,):
        with pytest.raises(InputError, match="a row of its own"), SKIPPING[method](vlm.model):
            logits(vlm, inputs, position_ids=positions_of(vlm, axes), use_cache=use_cache)


def test_packed_sequences_that_lose_nothing_are_kept_apart_as_the_stock_model_does() -> None:
    vlm = tiny_model("LLaVA")
    positions = positions_of(vlm, 1)
    alone = logits(vlm, prompts(vlm)[1])
    for method in (Dense(), type(METHODS["masked"])(1.0, 0.0)):
        with method(vlm.model):
            together = logits(vlm, packed(vlm), position_ids=positions, use_cache=False)
        torch.testing.assert_close(together[:, -alone.shape[1] :], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("how", ["a gap", "lengths", "numbers in the mask"])
def test_other_ways_to_pack_are_refused(how: str) -> None:
    vlm = tiny_model("LLaVA")
    inputs = dict(prompts(vlm)[0])
    mask = inputs.pop("attention_mask")
    positions = torch.arange(mask.shape[1])[None]
    more: dict[str, Any] = {}
    if how == "a gap":  # the stock model takes what follows for another sequence
        more = {"position_ids": torch.where(positions < mask.shape[1] - 3, positions, positions + 5)}
    elif how == "lengths":
        more = {"cu_seq_lens_q": torch.tensor([0, 9, mask.shape[1]])}
    else:
        more = {"attention_mask": torch.where(positions < 9, 1, 2)}
    with pytest.raises(InputError, match=r"a row of its own|1 for tokens"), METHODS["masked"](vlm.model):
        logits(vlm, inputs, use_cache=False, **more)


def test_positions_of_one_sequence_are_taken(vlm: Vlm) -> None:
    """Those that the model itself makes."""
    for inputs in prompts(vlm):
        with METHODS["masked"](vlm.model):
            logits(vlm, inputs)
            del inputs["attention_mask"]
            logits(vlm, inputs, use_cache=False)
