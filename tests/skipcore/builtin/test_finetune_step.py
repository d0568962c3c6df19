"""A training step under a method: gradients, labels, and computation that is really saved."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from model_runs import checkpointing
from shared_models import methods_for, noise_picture, trained_summary
from torch.utils.flop_counter import FlopCounterMode
from transformers.modeling_outputs import BaseModelOutputWithPooling

from skipcore import AdaptiveSummary, SkipVision, Vlm


@pytest.fixture
def trainable(tiny: Vlm):
    tiny.model.train().requires_grad_(True)
    yield tiny
    tiny.model.eval().requires_grad_(False)
    tiny.model.zero_grad(set_to_none=True)


def batch_of(vlm: Vlm) -> dict:
    prompts = [
        vlm.prepare(noise_picture(seed), question).inputs for seed, question in enumerate(["What is?", "Where?"])
    ]
    padded = vlm.processor.tokenizer.pad(
        [{"input_ids": p["input_ids"][0].tolist()} for p in prompts], padding_side="right", return_tensors="pt"
    )
    labels = padded["input_ids"].masked_fill(padded["attention_mask"] == 0, -100)
    labels = labels.masked_fill(labels == vlm.model.config.image_token_id, -100)
    return {**padded, "pixel_values": torch.cat([p["pixel_values"] for p in prompts]), "labels": labels}


def gradients(vlm: Vlm, batch: dict, method: SkipVision) -> dict[str, torch.Tensor]:
    vlm.model.zero_grad(set_to_none=True)
    with method(vlm.model):
        vlm.model(**batch).loss.backward()
    return {name: p.grad.clone() for name, p in vlm.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["masked, trained summary", "text sees skipped", "CoS options"])
def test_gradients_are_those_of_the_loss(trainable: Vlm, name: str) -> None:
    """Against a finite difference along a random direction, in float64 (the loss itself is float32)."""
    vlm, method = trainable, methods_for(trainable)[name]
    batch = batch_of(vlm)
    vlm.model.double()
    if method.summary is not None:
        method.summary.double()
    batch["pixel_values"] = batch["pixel_values"].double()
    try:
        weight = vlm.model.get_decoder().layers[0].mlp.down_proj.weight
        direction = torch.randn_like(weight)
        slope = (gradients(vlm, batch, method)["model.language_model.layers.0.mlp.down_proj.weight"] * direction).sum()
        losses = []
        for step in (1e-4, -1e-4):
            with torch.no_grad():
                weight += step * direction
                with method(vlm.model):
                    losses.append(vlm.model(**batch).loss)
                weight -= step * direction
        assert slope.item() == pytest.approx(((losses[0] - losses[1]) / 2e-4).item(), rel=2e-2)
    finally:
        vlm.model.float()


def test_gradients_reach_tower_summary_and_embeddings(trainable: Vlm) -> None:
    summary = AdaptiveSummary(trainable.model.get_decoder().config.hidden_size)
    found = gradients(trainable, batch_of(trainable), SkipVision(0.2, 0.3, summary=summary))
    assert summary.score.weight.grad.abs().sum() > 0
    for part in ("vision_tower", "multi_modal_projector", "embed_tokens", "layers.2.self_attn", "layers.2.mlp"):
        assert any(part in name and grad.abs().sum() > 0 for name, grad in found.items()), part


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(trainable: Vlm, reentrant: bool) -> None:
    method, batch = SkipVision(0.2, 0.3), batch_of(trainable)
    plain = gradients(trainable, batch, method)
    with checkpointing(trainable, reentrant):
        checkpointed = gradients(trainable, batch, method)
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_with_other_forwards_before_backward(trainable: Vlm, reentrant: bool) -> None:
    """A layer that runs again in backward gets its own layout, whatever ran in between."""
    batch, method = batch_of(trainable), SkipVision(0.2, 0.3)
    text_only = {"input_ids": batch["input_ids"][:, -6:], "labels": batch["input_ids"][:, -6:]}
    one_picture = {name: values[:1] for name, values in batch.items()}

    def step() -> dict[str, torch.Tensor]:
        trainable.model.zero_grad(set_to_none=True)
        with method(trainable.model):
            losses = [trainable.model(**each).loss for each in (batch, one_picture, text_only)]
            with torch.no_grad():
                trainable.model(**one_picture)
            sum(losses).backward()
        return {name: p.grad.clone() for name, p in trainable.model.named_parameters() if p.grad is not None}

    plain = step()
    with checkpointing(trainable, reentrant):
        checkpointed = step()
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-4, atol=1e-6)


def test_labels_line_up(trainable: Vlm) -> None:
    """The loss is that of the logits at the labels' places."""
    batch = batch_of(trainable)
    with SkipVision(0.2, 0.3)(trainable.model), torch.no_grad():
        output = trainable.model(**batch)
    predicted, wanted = output.logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten()
    expected = torch.nn.functional.cross_entropy(predicted, wanted, ignore_index=-100)
    torch.testing.assert_close(output.loss, expected)


def test_forward_and_backward_really_save(trainable: Vlm) -> None:
    batch = batch_of(trainable)
    counts = {}
    for name, method in {
        "all": SkipVision(1.0, 0.0),
        "skip": SkipVision(0.1, 0.2, summary=trained_summary(48)),
    }.items():
        with FlopCounterMode(display=False, depth=4) as counter:
            gradients(trainable, batch, method)
        by_module = counter.get_flop_counts()
        counts[name] = sum(sum(ops.values()) for module, ops in by_module.items() if module.endswith("language_model"))
    assert counts["skip"] < 0.55 * counts["all"]


def weights_in(module: torch.nn.Module) -> int:
    """Of its linear layers."""
    return sum(each.weight.numel() for each in module.modules() if isinstance(each, torch.nn.Linear))


@pytest.mark.parametrize("summarized", [False, True])
def test_the_step_saves_exactly_what_it_should(trainable: Vlm, summarized: bool) -> None:
    """Matrix products of forward and backward, at the shares of 100 + 156 of 576, against the closed form.

    Each weight is multiplied three times: forward, for its own gradient, and for its input's.
    """
    width, prompt = 48, trainable.prepare(noise_picture(0), "What is?")
    features = trainable.encode(prompt)["image"].pooler_output[0].clone().requires_grad_()
    inputs = {name: value for name, value in prompt.inputs.items() if name != "pixel_values"}
    length, decoder = inputs["input_ids"].shape[1], trainable.model.get_decoder()
    retained, skipped = round(100 / 576 * 64), round(156 / 576 * 64)
    summary = trained_summary(width).requires_grad_() if summarized else None
    method = SkipVision(100 / 576, 156 / 576, summary=summary)

    def products(session: SkipVision | None) -> int:
        with FlopCounterMode(display=False) as counter, session(trainable.model) if session else nullcontext():
            encoded = BaseModelOutputWithPooling(pooler_output=[features])
            trainable.model(**inputs, labels=inputs["input_ids"], mm_encoder_outputs={"image": encoded}).loss.backward()
        counts = counter.get_flop_counts()["Global"]
        return sum(flops for kind, flops in counts.items() if kind in (torch.ops.aten.mm, torch.ops.aten.addmm))

    def expected(slots: int, ffn_rows: int) -> int:
        layers = [
            2 * slots * weights_in(layer.self_attn) + 2 * ffn_rows * weights_in(layer.mlp) for layer in decoder.layers
        ]
        return 3 * (sum(layers) + 2 * length * trainable.model.lm_head.weight.numel())

    text = length - 64
    merging = 2 * (64 - retained - skipped) * skipped * width  # not differentiated
    pooling = 3 * 2 * (retained + skipped) * width if summarized else 0
    assert products(None) == expected(length, length)
    kept = text + retained + 2  # two summary tokens
    assert products(method) == expected(kept + skipped, kept) + merging + pooling
    assert products(method) < 0.62 * products(None)
