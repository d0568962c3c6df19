"""Layers are hooked while they prefill, and while they run again in backward; decode steps run them as they are."""

from __future__ import annotations

import copy

import pytest
import torch
from family_methods import COMBINED, METHODS, PEERS, SEEING_PEERS
from model_runs import hooks
from shared_models import noise_picture
from tiny_families import untouched_model

from skipcore import Dense, InputError, Vlm

EVERY_METHOD = {**METHODS, **PEERS, **SEEING_PEERS, **COMBINED, "Dense": Dense()}


def hooked(vlm: Vlm) -> list[str]:
    """Names of the decoder's layers and of modules in them that have hooks."""
    return [
        name
        for name, module in vlm.model.get_decoder().named_modules()
        if name.startswith("layers.") and (module._forward_hooks or module._forward_pre_hooks)
    ]


@pytest.mark.parametrize("family", ["LLaVA", "Qwen3-VL", "Gemma 3", "GLM-4.5V"])
@pytest.mark.parametrize("name", EVERY_METHOD)
def test_no_layer_is_hooked_after_prefill(family: str, name: str) -> None:
    """Twice in one session, as `generate()` may be called; recorded, too."""
    vlm, method = untouched_model(family), EVERY_METHOD[name]
    inputs = vlm.prepare(noise_picture(0), "What?", method=method).inputs
    seen: list[tuple[bool, list[str]]] = []
    handle = vlm.model.base_model.register_forward_hook(lambda *call: seen.append((True, hooked(vlm))))
    inside = (
        vlm.model.get_decoder()
        .layers[0]
        .register_forward_pre_hook(
            lambda layer, args: seen.append((False, [each for each in hooked(vlm) if each != "layers.0"])), prepend=True
        )
    )
    try:
        for record in (False, True):
            with method(vlm.model, record=record) as session:
                answers = [
                    vlm.model.generate(**inputs, max_new_tokens=3, do_sample=False, eos_token_id=-1) for _ in range(2)
                ]
                traces = session.traces
            assert torch.equal(*answers) and (traces[0].ffn_update is None) != record
            layers = [found for after, found in seen if not after]
            assert [bool(found) for found in layers] == [record or name != "Dense", False, False] * 2
            assert all(set(found) <= {"layers.0"} for after, found in seen if after)
            seen.clear()
    finally:
        handle.remove()
        inside.remove()


@pytest.mark.parametrize("fails_in", ["prefill", "decode"])
def test_no_layer_is_hooked_after_an_error(fails_in: str) -> None:
    """And the session goes on as if nothing had been."""
    vlm, method = untouched_model("Qwen2.5-VL"), PEERS["FastV"]
    inputs = vlm.prepare(noise_picture(0), "What?").inputs
    more = {"input_ids": torch.tensor([[70]])}
    layer = vlm.model.get_decoder().layers[2]

    def fail(*call: object) -> None:
        raise RuntimeError("out of memory")

    with method(vlm.model), torch.inference_mode():
        cache = vlm.model(**inputs, use_cache=True).past_key_values
        again = vlm.model(**inputs, use_cache=True).past_key_values
        expected = vlm.model(**more, past_key_values=again, use_cache=True).logits
        handle = layer.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            vlm.model(**(inputs if fails_in == "prefill" else more))
        handle.remove()
        assert hooked(vlm) == []
        assert torch.equal(vlm.model(**more, past_key_values=cache, use_cache=True).logits, expected)
    assert hooks(vlm) == 0


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_layers_are_hooked_again_in_backward(reentrant: bool) -> None:
    """Gradients are those of a plain step, also of two prompts of which one is left alone; none outside."""
    vlm = untouched_model("Qwen2.5-VL")
    model = copy.deepcopy(vlm.model).requires_grad_(True).train()
    prompts = [vlm.prepare(pictures, "What?").inputs for pictures in ([noise_picture(0)], [])]
    name = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"

    def loss() -> torch.Tensor:
        return sum(model(**inputs, labels=inputs["input_ids"]).loss for inputs in prompts)

    def gradients() -> dict[str, torch.Tensor]:
        model.zero_grad()
        with METHODS["attention skipped, too"](model):
            total = loss()
            assert hooked(Vlm(model, vlm.processor, vlm.family, vlm.name)) == []
            total.backward()
        assert not any(module._forward_hooks for module in model.get_decoder().layers.modules())
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    plain = gradients()
    getattr(model, f"{name}_checkpointing_enable")({"use_reentrant": reentrant})
    for parameter, gradient in gradients().items():
        torch.testing.assert_close(gradient, plain[parameter], rtol=1e-4, atol=1e-6)
    with METHODS["attention skipped, too"](model):
        total = loss()
    with pytest.raises(InputError, match="Keep backward inside the session"):
        total.backward()
