"""Logits that are infinite or not a number are an error with a sentence, wherever a model is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch
from shared_models import noise_picture
from tiny_families import BUILDERS, tiny_model
from torch import nn

from profiling import compare
from profiling.sweep.asking import greedy, log_probs
from skipcore import Dense, InputError, Sampling, SkipVision, Vlm, answer, calibrate
from skipcore.agreement import Agreement
from skipcore.alternate import alternate
from skipcore.chat import Chat
from skipcore.methods import FastV


@contextmanager
def doctored(module: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """A module with other weights for a while."""
    kept = module.weight
    module.weight = nn.Parameter(change(kept.detach().clone()), requires_grad=False)
    try:
        yield
    finally:
        module.weight = kept


def overflowing(vlm: Vlm, layer: int = 1) -> AbstractContextManager[None]:
    """The attention of a layer makes numbers beyond what fits."""
    attention = vlm.model.get_decoder().layers[layer].self_attn
    return doctored(attention.o_proj, lambda weight: torch.full_like(weight, float("inf")))


def inputs_of(vlm: Vlm) -> dict[str, Any]:
    return vlm.prepare(noise_picture(0), "What?").inputs


ENTRIES: dict[str, Callable[[Vlm], Any]] = {
    "answer": lambda vlm: list(answer(vlm, noise_picture(0), "What?", max_new_tokens=2)),
    "answer, skipping": lambda vlm: list(answer(vlm, noise_picture(0), "What?", SkipVision(0.2, 0.3), 2)),
    "answer, dropping": lambda vlm: list(answer(vlm, noise_picture(0), "What?", FastV(1, 0.5), 2)),
    "sampling": lambda vlm: list(answer(vlm, noise_picture(0), "What?", max_new_tokens=2, sampling=Sampling(1.0))),
    "chat": lambda vlm: list(Chat(vlm, noise_picture(0)).ask("What?", 2)),
    "side by side": lambda vlm: list(alternate(vlm, noise_picture(0), "What?", [Dense(), FastV(1, 0.5)], 2)),
    "compare": lambda vlm: compare(vlm, noise_picture(0), "What?", max_new_tokens=2),
    "calibrate": lambda vlm: calibrate(vlm, [noise_picture(0)], "What?", answer_tokens=2),
    "race, answers": lambda vlm: greedy(vlm, Dense(), inputs_of(vlm), 2),
    "race, agreement": lambda vlm: log_probs(vlm, Dense(), inputs_of(vlm), [[5, 6]]),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_says_where_it_began(name: str) -> None:
    vlm = tiny_model("LLaVA")
    with (
        overflowing(vlm),
        torch.inference_mode(),
        pytest.raises(InputError, match=r"float32.*first in decoder layer 1"),
    ):
        ENTRIES[name](vlm)
    assert not vlm.lock.locked()
    assert list(answer(vlm, noise_picture(0), "What?", max_new_tokens=1))  # the model is as it was


@pytest.mark.parametrize("family", BUILDERS)
def test_every_family_says_where_it_began(family: str) -> None:
    vlm = tiny_model(family)
    for method in (Dense(), SkipVision(0.2, 0.3)):
        with overflowing(vlm, 2), pytest.raises(InputError, match="first in decoder layer 2"):
            list(answer(vlm, noise_picture(0), "What?", method, 2))


def test_half_precision_that_overflows_is_told_what_to_do() -> None:
    tiny_model.cache_clear()
    vlm = tiny_model("LLaVA")
    tiny_model.cache_clear()  # a model of its own, since its weights are rounded
    vlm.model.to(torch.float16)
    large = doctored(vlm.model.get_decoder().layers[0].mlp.down_proj, lambda weight: torch.full_like(weight, 6e4))
    with large, pytest.raises(InputError, match=r'in float16.*decoder layer 0.*dtype="bfloat16"'):
        list(answer(vlm, noise_picture(0), "What?", max_new_tokens=2))


def test_a_step_within_the_answer_is_found_too() -> None:
    """A token overflows once it is read."""
    vlm = tiny_model("LLaVA")
    first = next(answer(vlm, noise_picture(0), "What?", max_new_tokens=1)).id
    rows = torch.arange(vlm.model.get_input_embeddings().weight.shape[0])[:, None] == first
    broken = doctored(vlm.model.get_input_embeddings(), lambda weight: weight.masked_fill(rows, float("inf")))
    with broken, pytest.raises(InputError, match="first in the embeddings"):
        list(answer(vlm, noise_picture(0), "What?", max_new_tokens=3))


def test_the_vision_tower_is_named() -> None:
    vlm = tiny_model("LLaVA")
    projector = vlm.model.model.multi_modal_projector.linear_2
    broken = doctored(projector, lambda weight: torch.full_like(weight, float("nan")))
    with broken, pytest.raises(InputError, match="the vision tower or the projector"):
        list(answer(vlm, noise_picture(0), "What?", max_new_tokens=1))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nothing_agrees_with_what_is_not_finite(bad: float) -> None:
    fine = torch.zeros(2, 4).log_softmax(-1)
    broken = fine.clone()
    broken[1, 2] = bad
    for pair in ((fine, broken), (broken, fine), (broken, broken)):
        with pytest.raises(InputError, match="No agreement"):
            Agreement.between(*pair)
