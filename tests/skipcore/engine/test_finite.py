"""Law 10: logits that are not finite are an error with a sentence, at every entry, never a figure or an answer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from family_methods import COMBINED, METHODS, PEERS, SEEING_PEERS
from shared_models import noise_picture
from tiny_families import BUILDERS, tiny_model

from profiling import compare
from profiling.race.accuracy import measure_questions
from skipcore import Chat, Dense, InputError, Method, Sampling, SkipVision, Vlm, answer, ask, calibrate
from skipcore import layer_contributions as contributions
from skipcore.answering.agreement import Agreement, log_probs_along
from skipcore.answering.alternate import alternate
from skipcore.answering.generate import generate
from skipcore.builtin.evaluation.asked import AskedPicture, easy_question
from skipcore.builtin.evaluation.many_answers import evaluate
from skipcore.builtin.scenes.easy_vqa import load_split
from skipcore.engine.finite import not_finite

QUESTION = "what?"
PLACES: dict[str, Callable[[Any], torch.nn.Module]] = {
    "the vision tower": lambda model: model.model.vision_tower.encoder.layers[0].mlp.fc2,
    "the projector": lambda model: model.model.multi_modal_projector.linear_2,
    "layer 0 of the decoder": lambda model: model.get_decoder().layers[0].self_attn.v_proj,
    "layer 1 of the decoder": lambda model: model.get_decoder().layers[1].mlp.down_proj,
    "the output head": lambda model: model.lm_head,
}


def overflowing(vlm: Vlm, place: str) -> Vlm:
    """A copy whose weights in one place are so large that their product overflows."""
    doctored = replace(vlm, model=copy.deepcopy(vlm.model))
    module = PLACES[place](doctored.model)
    if isinstance(module, torch.nn.Linear):  # a copy: the head may share its weight with the embeddings
        module.weight = torch.nn.Parameter(torch.full_like(module.weight, 3e38), requires_grad=False)
    return doctored


@pytest.fixture(scope="module")
def bad(tiny: Vlm) -> Vlm:
    return overflowing(tiny, "layer 1 of the decoder")


def asked() -> list[AskedPicture]:
    seen = load_split("test")[0]
    question = easy_question(*seen.questions[0])
    return [AskedPicture(partial(noise_picture, 0), (question,))]


def along(vlm: Vlm) -> None:
    inputs = vlm.prepare(noise_picture(0), QUESTION).inputs
    log_probs_along(vlm, inputs, Dense(), [5, 6, 7])


def plain(vlm: Vlm) -> None:
    inputs = vlm.prepare(noise_picture(0), QUESTION).inputs
    with closing(generate(vlm, inputs, Dense()(vlm.model), 3)) as tokens:
        list(tokens)


PICTURE = noise_picture(0)
ENTRIES: dict[str, Callable[[Vlm], object]] = {
    "answer": lambda vlm: list(answer(vlm, PICTURE, QUESTION)),
    "ask, skipping": lambda vlm: ask(vlm, PICTURE, QUESTION, SkipVision(0.2, 0.3)),
    "ask, sampling": lambda vlm: ask(vlm, PICTURE, QUESTION, sampling=Sampling(1.0, 0.9, seed=1)),
    "generate": plain,
    "chat": lambda vlm: list(Chat(vlm, PICTURE).ask(QUESTION)),
    "alternate": lambda vlm: list(alternate(vlm, PICTURE, QUESTION, [Dense(), SkipVision(0.2, 0.3)])),
    "log_probs_along": along,
    "compare": lambda vlm: compare(vlm, PICTURE, QUESTION, max_new_tokens=2),
    "calibrate": lambda vlm: calibrate(vlm, [PICTURE], QUESTION),
    "layer_contributions": lambda vlm: contributions(vlm, [PICTURE], QUESTION),
    "sweep": lambda vlm: measure_questions(vlm, asked(), {"dense": Dense()}, has_truth=False, max_new_tokens=3),
    "evaluate": lambda vlm: evaluate(vlm, asked(), [Dense()]),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_refuses(bad: Vlm, entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    multinomial = torch.multinomial

    def finite_only(weights: torch.Tensor, *args: Any, **more: Any) -> torch.Tensor:
        assert weights.isfinite().all()  # on CUDA, NaN here ends the process's context
        return multinomial(weights, *args, **more)

    monkeypatch.setattr(torch, "multinomial", finite_only)
    with pytest.raises(InputError, match=r"in float32.*layer 1 of the decoder"):
        ENTRIES[entry](bad)
    assert not bad.lock.locked()


@pytest.mark.parametrize("place", PLACES)
def test_the_place_is_named(tiny: Vlm, place: str) -> None:
    doctored = overflowing(tiny, place)
    for method in (Dense(), SkipVision(0.2, 0.3)):
        with pytest.raises(InputError, match=f"not finite is {place}"):
            ask(doctored, PICTURE, QUESTION, method)


def test_half_precision_is_advised_against(tiny: Vlm) -> None:
    half = replace(tiny, model=copy.deepcopy(tiny.model).half())
    half.model.get_decoder().layers[2].mlp.down_proj.weight.fill_(60_000)
    with pytest.raises(InputError, match=r"in float16.*layer 2.*bfloat16"):
        ask(half, PICTURE, QUESTION)


def test_a_decode_step_that_overflows_is_refused(tiny: Vlm) -> None:
    doctored = replace(tiny, model=copy.deepcopy(tiny.model))
    tokens = answer(doctored, PICTURE, QUESTION, max_new_tokens=5)
    first = next(tokens)
    doctored.model.get_input_embeddings().weight[first.id] = float("nan")
    with pytest.raises(InputError, match="the token embeddings"):
        next(tokens)
    assert not doctored.lock.locked()


MANY: dict[str, Method] = {**METHODS, **PEERS, **SEEING_PEERS, **COMBINED}


@pytest.fixture(scope="module", params=["LLaVA", "Qwen2.5-VL", "Gemma 3"])
def bad_family(request: pytest.FixtureRequest) -> Iterator[Vlm]:
    vlm = tiny_model(request.param)
    doctored = replace(vlm, model=copy.deepcopy(vlm.model))
    doctored.model.get_decoder().layers[0].self_attn.o_proj.weight.fill_(3e38)
    yield doctored


@pytest.mark.parametrize("name", MANY)
def test_no_method_reads_nan_as_agreement(bad_family: Vlm, name: str) -> None:
    """The first layer overflows, so that whatever a method decides within the decoder it decides by NaN."""
    with pytest.raises(InputError, match="layer 0 of the decoder"):
        ask(bad_family, PICTURE, QUESTION, MANY[name])


@pytest.mark.parametrize("family", BUILDERS)
def test_the_parts_of_every_family_have_names(family: str) -> None:
    vlm = tiny_model(family)
    doctored = replace(vlm, model=copy.deepcopy(vlm.model))
    next(doctored.model.get_encoder(modality="image").parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="the vision tower"):
        ask(doctored, PICTURE, QUESTION)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_distributions_that_are_not_finite_agree_with_nothing(wrong: float) -> None:
    fine = torch.zeros(2, 4).log_softmax(-1)
    broken = fine.clone()
    broken[1, 2] = wrong
    for pair in ((fine, broken), (broken, fine), (broken, broken)):
        with pytest.raises(InputError, match="not finite"):
            Agreement.between(*pair)


def padded(vlm: Vlm, by: float) -> Vlm:
    """A copy whose last tokens only pad the vocabulary."""
    model = copy.deepcopy(vlm.model)
    head = model.get_output_embeddings()
    bias = torch.zeros(head.out_features)
    bias[-5:] = by
    head.bias = torch.nn.Parameter(bias, requires_grad=False)
    return replace(vlm, model=model)


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_takes_a_padded_vocabulary(tiny: Vlm, entry: str) -> None:
    ENTRIES[entry](padded(tiny, -torch.inf))


@pytest.mark.parametrize("method", [SkipVision(0.2, 0.3), SEEING_PEERS["SPIDER"]], ids=lambda each: each.name)
def test_padding_counts_for_nothing(method: Method) -> None:
    found = []
    for by in (-torch.inf, -1e4):
        vlm = padded(tiny_model("LLaVA"), by)
        inputs = vlm.prepare(noise_picture(0), QUESTION).inputs
        tables = [log_probs_along(vlm, inputs, each, [5, 6, 7]) for each in (Dense(), method)]
        found.append(Agreement.between(*tables))
    assert found[0] == found[1] and 0 < found[0].kl < torch.inf


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_padding_hides_no_fault(bad: Vlm, tiny: Vlm, wrong: float) -> None:
    """A row that is −∞ throughout is a fault, too; where something else broke, the padding is not blamed."""
    doctored = padded(tiny, -torch.inf)
    doctored.model.get_output_embeddings().bias[:-5] = wrong
    for vlm, place in ((doctored, "the output head"), (padded(bad, -torch.inf), "layer 1 of the decoder")):
        with pytest.raises(InputError, match=place):
            ask(vlm, PICTURE, QUESTION)


def test_a_search_for_the_place_that_fails_hides_nothing(tiny: Vlm) -> None:
    def again() -> None:
        raise RuntimeError("out of memory")

    said = str(not_finite(tiny.model, again))
    assert "NaN in float32" in said and "first module" not in said and "out of memory" not in said
