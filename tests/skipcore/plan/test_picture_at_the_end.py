"""Prompts that end in their picture: the answer begins by the last visual token, which runs everything and stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from family_methods import COMBINED, METHODS, PEERS, SEEING_PEERS
from model_runs import logits
from shared_models import noise_picture
from tiny_families import BUILDERS, LAYERS, tiny_model
from tiny_tokenizer import IMAGE

from skipcore import Dense, Method, Role, SkipVision, Vlm
from skipcore.methods import DyMU, UniformGrid
from skipcore.plan.image_plan import ImagePlan
from skipcore.plan.tiles import PlacedPicture, Tile
from skipcore.plan.token_plan import plan_sample

EVERY_METHOD: dict[str, Method] = {**METHODS, **PEERS, **SEEING_PEERS, **COMBINED}
FAMILIES = ("LLaVA", "Qwen3-VL", "SmolVLM", "InternVL")
TURNS = [(method, FAMILIES[number % len(FAMILIES)]) for number, method in enumerate(EVERY_METHOD)]
OF_TOKENS = {"input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids"}


def ending_in_a_picture(vlm: Vlm, seed: int = 0) -> dict[str, Any]:
    inputs = vlm.prepare(noise_picture(seed), "What?").inputs
    end = int((inputs["input_ids"][0] == IMAGE).nonzero().max()) + 1
    return {name: value[:, :end] if name in OF_TOKENS else value for name, value in inputs.items()}


def assert_the_last_token_runs_everything(vlm: Vlm, method: Method) -> None:
    inputs = ending_in_a_picture(vlm)
    entered: list[torch.Tensor] = []
    dense: list[torch.Tensor] = []
    first = vlm.model.get_decoder().layers[0]

    def see(into: list[torch.Tensor]):
        return first.register_forward_pre_hook(lambda layer, args: into.append(args[0]))

    hook = see(dense)
    logits(vlm, inputs)
    hook.remove()
    with method(vlm.model) as session, torch.inference_mode():
        hook = see(entered)
        output = vlm.model(**inputs, use_cache=True, logits_to_keep=1)
        hook.remove()
        vlm.model(input_ids=torch.tensor([[70]]), past_key_values=output.past_key_values)
    trace = session.trace
    last = len(trace.slot_role) - 1
    for ran in (trace.entered, trace.ran_attention, trace.ran_ffn, trace.in_cache):
        assert ran[:, last].all()
    assert trace.slot_source[last] == inputs["input_ids"].shape[1] - 1
    assert trace.tied_to[last] == last
    if not method.execution.ties_rows:  # else the tower has merged it
        assert torch.equal(entered[0][0, -1], dense[0][0, -1])
    if trace.slot_token[last] >= 0:  # no newline that ends the picture
        assert trace.token_slot[-1] == last and trace.role[-1] == Role.RETAINED and not trace.merged[-1]
        assert (trace.token_slot[:-1] != last).all()
    assert len(trace.token_slot) == sum(trace.picture_tokens)


@pytest.mark.parametrize("method, family", TURNS)
def test_the_last_token_runs_everything(method: str, family: str) -> None:
    assert_the_last_token_runs_everything(tiny_model(family), EVERY_METHOD[method])


@pytest.mark.parametrize("family", BUILDERS)
@pytest.mark.parametrize("method", ["masked", "Downsampled picture", "VTW, at once"])
def test_in_every_family(method: str, family: str) -> None:
    assert_the_last_token_runs_everything(tiny_model(family), EVERY_METHOD[method])


@pytest.mark.parametrize("keep_all", [Dense(), SkipVision(1.0, 0.0), UniformGrid(1.0)], ids=lambda each: each.label)
@pytest.mark.parametrize("family", FAMILIES)
def test_keeping_everything_is_bit_identical_to_dense(family: str, keep_all: Method) -> None:
    vlm = tiny_model(family)
    inputs = ending_in_a_picture(vlm)
    dense = logits(vlm, inputs)
    with keep_all(vlm.model) as session:
        assert torch.equal(logits(vlm, inputs), dense)
    assert (session.trace.role == Role.RETAINED).all()


@pytest.mark.parametrize("method", ["masked", "FastV", "DivPrune", "VisionZip"])
def test_what_text_does_the_last_token_does(method: str) -> None:
    """With nothing kept of the picture but its last token, it sees the text before it alone."""
    vlm = tiny_model("LLaVA")
    inputs = ending_in_a_picture(vlm)
    with UniformGrid(0)(vlm.model):
        alone = logits(vlm, inputs)[0, -1]
    with EVERY_METHOD[method](vlm.model):
        actual = logits(vlm, inputs)[0, -1]
    assert not torch.allclose(actual, alone, atol=1e-2)
    embeds = vlm.model.get_input_embeddings()(inputs["input_ids"][:, :-64])
    features = vlm.encode(vlm.prepare(noise_picture(0), "What?"))["image"].pooler_output[0]
    with torch.inference_mode():
        expected = vlm.model(
            inputs_embeds=torch.cat([embeds, features[None, -1:]], dim=1),
            position_ids=torch.tensor([[*range(embeds.shape[1]), inputs["input_ids"].shape[1] - 1]]),
            attention_mask=torch.ones(1, embeds.shape[1] + 1),
        ).logits[0, -1]
    torch.testing.assert_close(alone, expected, rtol=0, atol=1e-5)


def test_others_take_the_place_of_the_last_token() -> None:
    """Where tokens were merged into it, the last of them stands there; ties to it are undone."""
    plan = ImagePlan(torch.tensor([0]), torch.tensor([1, 4]), torch.tensor([0, 1, 2, 2, 2]), summaries=False)
    without = plan.without_last()
    assert (without.retained.tolist(), without.skipped.tolist()) == ([0], [1, 3])
    assert without.destination.tolist() == [0, 1, 2, 2, -1]
    alone = ImagePlan(torch.tensor([0, 4]), torch.tensor([1]), torch.tensor([0, -1, 2, -1, 1]), summaries=False)
    assert alone.without_last().retained.tolist() == [0] and alone.without_last().skipped.tolist() == [1]
    assert alone.without_last().destination.tolist() == [0, -1, 1, -1, -1]
    tied = ImagePlan(torch.arange(5), torch.arange(0), torch.arange(5), False, ties=torch.tensor([0, 1, 1, 0, 0]))
    picture = PlacedPicture((Tile((1, 5)),), torch.arange(2, 7))
    sample = plan_sample(torch.ones(7, dtype=torch.bool), [picture], [tied], LAYERS)
    assert sample.tied_to is not None and sample.tied_to.tolist() == [0, 1, 2, 3, 3, 2, 6]
    assert sample.runs_ffn[0].tolist() == [True, True, True, True, False, False, True]


def test_tied_tokens() -> None:
    assert_the_last_token_runs_everything(tiny_model("LLaVA"), DyMU((-1.0, -1.0)))
