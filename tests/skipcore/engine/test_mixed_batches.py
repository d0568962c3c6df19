"""Mixed batches: rows that lose nothing (text alone, a tiny picture) beside rows that do answer as each does alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from family_methods import COMBINED, METHODS, PEERS, SEEING_PEERS
from model_runs import checkpointing
from shared_models import noise_picture
from tiny_families import BUILDERS, LAYERS, tiny_model
from tiny_tokenizer import IMAGE

from skipcore import Dense, Method, SkipVision, Vlm
from skipcore.methods import VTW, Combined, DivPrune, DyMU, FastV, PyramidDrop

EVERY_METHOD: dict[str, Method] = {
    **METHODS,
    **PEERS,
    **SEEING_PEERS,
    **COMBINED,
    "FastV, renumbered": FastV(1, 0.3, positions="renumbered"),
    "DivPrune, renumbered": DivPrune(0.3, positions="renumbered"),
    "masked, by counts": SkipVision(6, 4),
    "masked, then FastV by counts": Combined(FastV(1, 7), SkipVision(6, 4)),
    "masked, renumbered, by counts": SkipVision(6, 4, positions="renumbered"),
    "FastV, renumbered, by counts": FastV(1, 7, positions="renumbered"),
    "PyramidDrop, renumbered": PyramidDrop((1, 2), (0.5, 0.2), positions="renumbered"),
}
DISTINCT = ["LLaVA-OneVision", "Qwen3-VL", "SmolVLM", "Gemma 3"]
"""Text between tiles, something added between layers, several tiles, and masks of its own."""
NESTED = ("Gemma3Processor", "SmolVLMProcessor", "Idefics3Processor")
"""Processors that take a list of pictures for each prompt."""

Row = tuple[str, list[Any]]
TINY = noise_picture(7, 8, 8)
ROWS: list[Row] = [
    ("What?", [noise_picture(0)]),
    ("b" * 150, []),
    ("Which one is it, this one or that one, and where?", [noise_picture(1, 40, 60), TINY]),
    ("?", []),
    ("Is it red?", [TINY]),
]


def batch(vlm: Vlm, rows: list[Row], padding_side: str) -> dict[str, torch.Tensor]:
    """Rows as the processor lays them out, with the positions of each prompt where the model does not find them."""
    texts = [vlm._prompt([(question, "")], len(pictures)) for question, pictures in rows]
    nested = [pictures for _, pictures in rows]
    pictures = nested if type(vlm.processor).__name__ in NESTED else [each for own in nested for each in own]
    made = vlm.processor(
        images=pictures if any(nested) else None,
        text=texts,
        padding=True,
        padding_side=padding_side,
        return_tensors="pt",
    )
    inputs = {name: value for name, value in made.items() if isinstance(value, torch.Tensor)}
    if not hasattr(vlm.model.base_model, "get_rope_index"):
        inputs["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    return inputs


def run(vlm: Vlm, rows: list[Row], method: Method, padding_side: str) -> list[torch.Tensor]:
    """For each row the logits of its prompt, and of three more tokens where padding is on the left."""
    inputs = batch(vlm, rows, padding_side)
    with method(vlm.model), torch.inference_mode():
        prompts = vlm.model(**inputs).logits
        if padding_side == "right":
            return [own[real.bool()] for own, real in zip(prompts, inputs["attention_mask"], strict=True)]
        out = vlm.model.generate(
            **inputs,
            max_new_tokens=3,
            do_sample=False,
            eos_token_id=-1,
            return_dict_in_generate=True,
            output_logits=True,
        )
    decoded = torch.stack(out.logits, dim=1)
    return [
        torch.cat([own[real.bool()], more])
        for own, real, more in zip(prompts, inputs["attention_mask"], decoded, strict=True)
    ]


def assert_rows_are_as_alone(vlm: Vlm, method: Method, rows: list[Row], padding_side: str) -> None:
    together = run(vlm, rows, method, padding_side)
    for number, row in enumerate(rows):
        (alone,) = run(vlm, [row], method, padding_side)
        torch.testing.assert_close(together[number], alone, rtol=0, atol=2e-5)


@pytest.fixture(params=DISTINCT)
def vlm(request: pytest.FixtureRequest) -> Vlm:
    return tiny_model(request.param)


TURNS = [
    (method, DISTINCT[(number + turn) % len(DISTINCT)], padding_side)
    for number, method in enumerate(EVERY_METHOD)
    for turn, padding_side in enumerate(["left", "left", "right"])
]


@pytest.mark.parametrize("method, name, padding_side", TURNS)
def test_every_method_with_every_kind_of_row(method: str, name: str, padding_side: str) -> None:
    assert_rows_are_as_alone(tiny_model(name), EVERY_METHOD[method], ROWS, padding_side)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("method", ["masked", "VTW", "DivPrune, then masked"])
def test_every_family_with_text_beside_a_picture(name: str, method: str) -> None:
    assert_rows_are_as_alone(tiny_model(name), EVERY_METHOD[method], ROWS[:2], "left")


@pytest.mark.parametrize("name", BUILDERS)
def test_what_merges_in_the_tower_hangs_on_the_picture_alone(name: str) -> None:
    """Also where all pictures of a batch go through the tower as one sequence."""
    rows: list[Row] = [*ROWS[:2], ("These?", [noise_picture(1, 40, 60), noise_picture(2, 48, 48)])]
    assert_rows_are_as_alone(tiny_model(name), DyMU((0.3, 0.3)), rows, "left")


@pytest.fixture(scope="module")
def trained() -> Vlm:
    """A model of its own whose weights take gradients."""
    vlm = tiny_model.__wrapped__("Qwen3-VL")
    vlm.model.train().requires_grad_(True)
    return vlm


def gradients(vlm: Vlm, rows: list[Row], method: Method) -> torch.Tensor:
    """Of the decoder's weights, for a loss that weighs every logit of every row alike."""
    inputs = batch(vlm, rows, "left")
    real = inputs["attention_mask"].bool()
    vlm.model.zero_grad()
    with method(vlm.model):
        logits = vlm.model(**inputs, use_cache=False).logits
        (logits * logits.new_tensor(range(1, logits.shape[-1] + 1)).sin())[real].sum().backward()
    decoder = vlm.model.get_decoder()
    return torch.cat([weight.grad.flatten() for weight in decoder.layers.parameters() if weight.grad is not None])


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_training_on_a_mixed_batch(trained: Vlm, method: str) -> None:
    """Gradients are the sum of those of the rows alone, with and without checkpointing."""
    own = EVERY_METHOD[method]
    together = gradients(trained, ROWS[:2], own)
    alone = sum(gradients(trained, [row], own) for row in ROWS[:2])
    close = 1e-5 * float(together.abs().max())
    torch.testing.assert_close(together, alone, rtol=0, atol=close)
    with checkpointing(trained, reentrant=False):
        again = gradients(trained, ROWS[:2], own)
    torch.testing.assert_close(again, together, rtol=0, atol=close)


def test_hidden_states_of_a_mixed_batch(vlm: Vlm) -> None:
    """Every layer's states read the row they belong to, also where only some rows have dropped tokens."""
    method = VTW(1)
    inputs = batch(vlm, ROWS[:2], "left")
    for asked in (True, [1, -1]):
        with method(vlm.model), torch.inference_mode():
            together = vlm.model(**inputs, output_hidden_states=asked).hidden_states
        for number, row in enumerate(ROWS[:2]):
            with method(vlm.model), torch.inference_mode():
                alone = vlm.model(**batch(vlm, [row], "left"), output_hidden_states=asked).hidden_states
            text = (inputs["attention_mask"][number] & (inputs["input_ids"][number] != IMAGE)).bool()
            for layer, (own, of_row) in enumerate(zip(together, alone, strict=True)):
                assert (own is None) == (of_row is None) == (asked is not True and layer not in (1, LAYERS))
                if own is not None:
                    expected = of_row[0][-int(inputs["attention_mask"][number].sum()) :]
                    expected = expected[text[inputs["attention_mask"][number].bool()]]
                    torch.testing.assert_close(own[number][text], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", [Dense(), SkipVision(6, 4), FastV(1, 10**6), VTW(1)], ids=lambda each: each.label)
def test_recorded_updates_of_a_mixed_batch(vlm: Vlm, method: Method) -> None:
    """Also where a method decides within the decoder and then drops nothing."""
    with method(vlm.model, record=True) as session, torch.inference_mode():
        vlm.model(**batch(vlm, ROWS[:3], "left"))
    for row, trace in zip(ROWS, session.traces, strict=False):
        with method(vlm.model, record=True) as alone, torch.inference_mode():
            vlm.model(**batch(vlm, [row], "left"))
        torch.testing.assert_close(trace.ffn_update, alone.trace.ffn_update, rtol=1e-4, atol=1e-5, equal_nan=True)
