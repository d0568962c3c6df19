"""torch.compile: layers and their parts run exactly in a session; a model compiled as a whole is refused."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from family_methods import METHODS, PEERS
from shared_models import noise_picture
from tiny_families import tiny_model
from torch import nn

from skipcore import Dense, InputError, Method, SkipVision, Vlm

BACKEND = "eager"
TRIED: list[Method] = [METHODS["attention skipped, too"], PEERS["FastV"]]


@pytest.fixture
def vlm() -> Iterator[Vlm]:
    torch._dynamo.reset()
    shared = tiny_model("Qwen2.5-VL")
    yield Vlm(copy.deepcopy(shared.model), shared.processor, shared.family, shared.name)
    torch._dynamo.reset()


def first_logits(model: nn.Module, inputs: dict) -> torch.Tensor:
    options = {"do_sample": False, "eos_token_id": -1, "return_dict_in_generate": True, "output_logits": True}
    return torch.stack(model.generate(**inputs, max_new_tokens=2, **options).logits)


def compile_parts(model: nn.Module, part: str) -> None:
    layers = model.get_decoder().layers
    for number, layer in enumerate(layers):
        if part == "layers":
            layer.compile(backend=BACKEND)
        elif part == "layers, wrapped":
            layers[number] = torch.compile(layer, backend=BACKEND)
        elif part == "FFNs":
            layer.mlp.compile(backend=BACKEND)
        elif part == "attentions":
            layer.self_attn.compile(backend=BACKEND)


def all_runs(vlm: Vlm, inputs: dict) -> list:
    """Dense, and under several methods in turn."""
    found: list = [(first_logits(vlm.model, inputs), [])]
    for method in TRIED:
        with method(vlm.model) as session:
            logits = first_logits(vlm.model, inputs)
        trace = session.trace
        found.append((logits, [trace.ran_ffn, trace.kv_tokens, trace.kv_bytes]))
    return found


@pytest.mark.parametrize("part", ["layers", "layers, wrapped", "FFNs", "attentions"])
def test_compiled_layers_are_exact(vlm: Vlm, part: str) -> None:
    inputs = vlm.prepare(noise_picture(0), "What?").inputs
    expected = all_runs(vlm, inputs)
    compile_parts(vlm.model, part)
    for (logits, facts), (wanted, wanted_facts) in zip(all_runs(vlm, inputs), expected, strict=True):
        torch.testing.assert_close(logits, wanted, rtol=0, atol=1e-5)
        assert all(map(torch.equal, facts, wanted_facts))


def test_parts_compiled_after_entering_are_exact(vlm: Vlm) -> None:
    inputs, method = vlm.prepare(noise_picture(0), "What?").inputs, PEERS["FastV"]
    with method(vlm.model):
        expected = first_logits(vlm.model, inputs)
        compile_parts(vlm.model, "FFNs")
        torch.testing.assert_close(first_logits(vlm.model, inputs), expected, rtol=0, atol=1e-5)


def test_updates_are_recorded_or_refused(vlm: Vlm) -> None:
    inputs = vlm.prepare(noise_picture(0), "What?").inputs

    def updates() -> torch.Tensor:
        with Dense()(vlm.model, record=True) as session, torch.no_grad():
            vlm.model(**inputs)
        return session.trace.ffn_update

    expected = updates()
    compile_parts(vlm.model, "FFNs")
    with torch.no_grad():
        vlm.model(**inputs)
    torch.testing.assert_close(updates(), expected)
    compile_parts(vlm.model, "layers")
    with pytest.raises(InputError, match="do not record"):
        updates()


@pytest.mark.parametrize("way", ["wrapper", "in place", "decoder", "decoder, wrapped"])
def test_a_whole_that_is_compiled_is_refused_on_entering(vlm: Vlm, way: str) -> None:
    model = vlm.model
    given: nn.Module = model
    if way == "wrapper":
        given = torch.compile(model, backend=BACKEND)
    elif way == "in place":
        model.compile(backend=BACKEND)
    elif way == "decoder":
        model.get_decoder().compile(backend=BACKEND)
    else:
        model.base_model.language_model = torch.compile(model.get_decoder(), backend=BACKEND)
    with pytest.raises(InputError, match=r"layer\.compile\(\)"), SkipVision(0.2, 0.3)(given):
        pass


@pytest.mark.parametrize(
    "way, compiled_before",
    [("wrapper", True), ("in place", False), ("decoder", False), ("a function around", False)],
)
def test_a_whole_that_is_compiled_is_refused_when_it_runs(vlm: Vlm, way: str, compiled_before: bool) -> None:
    """Code compiled before the session knows of no hooks: it must not run on in the session as it is."""
    model, prepared = vlm.model, vlm.prepare(noise_picture(0), "What?")
    inputs = prepared.with_features(vlm.encode(prepared))
    run: nn.Module = model
    if way == "wrapper":
        run = torch.compile(model, backend=BACKEND)
    elif way == "a function around":
        run = torch.compile(lambda **given: model(**given), backend=BACKEND)  # type: ignore[assignment]
    with torch.no_grad():
        dense = (run if compiled_before else model)(**inputs).logits
        with SkipVision(0.2, 0.3)(model):
            if way == "in place":
                model.compile(backend=BACKEND)
            elif way == "decoder":
                model.get_decoder().compile(backend=BACKEND)
            with pytest.raises(InputError, match=r"layer\.compile\(\)"):
                run(**inputs)
        if compiled_before:
            torch.testing.assert_close(run(**inputs).logits, dense, rtol=0, atol=1e-5)
