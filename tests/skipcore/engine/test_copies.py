"""Copies of a model that are made while a session is at work on it: of the model as it is without the session."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from family_methods import METHODS
from model_runs import hooks, logits
from shared_models import noise_picture
from tiny_families import BUILDERS, untouched_model
from torch import nn

from skipcore import Method, SkipVision, Vlm
from skipcore.methods import DyMU, VisionZip


def saved(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


WAYS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": saved,
}


def facts(model: nn.Module) -> dict[str, list[str]]:
    """The names of every module's own attributes; and by what its config attends."""
    return {
        name: [*sorted(vars(module)), getattr(getattr(module, "config", None), "_attn_implementation", "")]
        for name, module in model.named_modules()
    }


def assert_is_the_model(copied: nn.Module, vlm: Vlm, inputs: dict, dense: torch.Tensor) -> None:
    assert hooks(Vlm(copied, vlm.processor, vlm.family, vlm.name)) == hooks(vlm)  # transformers has some of its own
    assert facts(copied) == facts(vlm.model)
    with torch.inference_mode():
        assert torch.equal(copied(**inputs).logits, dense)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", ["Qwen2.5-VL", "Gemma 3"])
def test_a_copy_made_inside_a_session_is_the_model(family: str, way: str) -> None:
    vlm = untouched_model(family)
    inputs = vlm.prepare(noise_picture(0), "What?").inputs
    dense = logits(vlm, inputs)
    with METHODS["attention skipped, too"](vlm.model):
        copies = [WAYS[way](vlm.model)]
        skipping = logits(vlm, inputs)
        copies.append(WAYS[way](vlm.model))
        for copied in copies:  # inside the session, too
            with torch.inference_mode():
                assert torch.equal(copied(**inputs).logits, dense)
        assert torch.equal(logits(vlm, inputs), skipping) and not torch.allclose(skipping, dense, atol=1e-3)
    for copied in copies:
        assert_is_the_model(copied, vlm, inputs, dense)


@pytest.mark.parametrize("family", BUILDERS)
def test_a_copy_made_while_layers_run_is_the_model(family: str) -> None:
    """Of every family: then all hooks are there."""
    vlm, copies = untouched_model(family), []
    inputs = vlm.prepare(noise_picture(0), "What?").inputs
    dense, method = logits(vlm, inputs), METHODS["in place, merged and masked"]
    handle = (
        vlm.model.get_decoder()
        .layers[1]
        .mlp.register_forward_hook(lambda *call: copies.append(copy.deepcopy(vlm.model)))
    )
    try:
        with method(vlm.model, record=True):
            logits(vlm, inputs)
    finally:
        handle.remove()
    (copied,) = copies
    copied.get_decoder().layers[1].mlp._forward_hooks.clear()  # that of this test
    assert_is_the_model(copied, vlm, inputs, dense)


@pytest.mark.parametrize("method", [DyMU((0.5, 0.5)), VisionZip(0.2, 0.1)], ids=["DyMU", "VisionZip"])
@pytest.mark.parametrize("family", ["LLaVA", "SmolVLM"])
def test_a_copy_made_inside_an_encoding_is_the_model(family: str, method: Method) -> None:
    vlm = untouched_model(family)
    prepared = vlm.prepare(noise_picture(0), "What?")
    dense = logits(vlm, prepared.inputs)
    with method.at_tower(vlm.model):
        copied = copy.deepcopy(vlm.model)
    assert_is_the_model(copied, vlm, prepared.inputs, dense)


def test_a_copy_has_sessions_of_its_own() -> None:
    vlm, method = untouched_model("LLaVA"), SkipVision(0.2, 0.3)
    inputs = vlm.prepare(noise_picture(0), "What?").inputs
    with method(vlm.model) as session:
        expected = logits(vlm, inputs)
        copied = copy.deepcopy(vlm.model)
        with method(copied) as other, torch.inference_mode():
            assert torch.equal(copied(**inputs).logits, expected)
    assert torch.equal(session.trace.kv_tokens, other.trace.kv_tokens)


def test_what_a_user_had_set_on_the_model_is_there_again() -> None:
    """Also on its copies: an encoder of the user's own, and hooks."""
    vlm = untouched_model("LLaVA")
    container, called = vlm.model.base_model, []
    inputs = vlm.prepare(noise_picture(0), "What?").inputs
    stock = container.get_image_features

    def own(*args: object, **kwargs: object) -> object:
        called.append(1)
        return stock(*args, **kwargs)

    container.get_image_features = own
    handle = vlm.model.get_decoder().register_forward_hook(lambda *call: None)
    before = hooks(vlm)
    try:
        with METHODS["masked"](vlm.model):
            logits(vlm, inputs)
            copied = copy.deepcopy(vlm.model)
        assert container.get_image_features is own and called and hooks(vlm) == before
        assert vars(copied.base_model)["get_image_features"] is own
        assert len(copied.get_decoder()._forward_hooks) == 1
    finally:
        del container.get_image_features
        handle.remove()
