"""DyMU against plain references: tokens really merged in the tower, attention over all places in the decoder."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from model_runs import batch_of, checkpointing, hooks, logits
from shared_models import noise_picture
from tiny_families import BUILDERS, tiny_model

from skipcore import InputError, Vlm
from skipcore.engine.encoding import remembered
from skipcore.methods import Combined, DyMU, SkipVision
from skipcore.plan.tower_view import TowerView
from skipcore.tower.blocks import Tower

QUESTION = "What color is it?"
LOW = DyMU((-1.0, -1.0))
"""Every other token merges in every block."""


@pytest.mark.parametrize("family", BUILDERS)
def test_unmerging_equals_full_attention_over_tied_tokens(family: str) -> None:
    """The stock decoder over all places, where tied tokens' attention outputs are averaged before the projection."""
    vlm = tiny_model(family)
    prepared = vlm.prepare(noise_picture(0), QUESTION)
    encoded = prepared.with_features(vlm.encode(prepared, LOW))
    with LOW(vlm.model, record=True) as session, torch.inference_mode():
        output = vlm.model(**encoded, use_cache=True)
    trace = session.trace
    tied_to = trace.tied_to
    assert trace.merged.any() == bool((tied_to != torch.arange(len(tied_to))).any())
    assert int(trace.ran_ffn[0].sum()) == len(tied_to.unique()) == int(trace.counts[0, 2])
    assert trace.kv_tokens.tolist() == [stored.keys.shape[-2] for stored in output.past_key_values.layers]

    def average(projection: torch.nn.Module, args: tuple) -> tuple:
        states = args[0].clone()
        for leader in tied_to.unique():
            members = tied_to == leader
            states[:, members] = states[:, members].mean(dim=1, keepdim=True)
        return (states,)

    handles = [layer.self_attn.o_proj.register_forward_pre_hook(average) for layer in vlm.model.get_decoder().layers]
    expected = logits(vlm, encoded)
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(output.logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("thresholds", [(0.8, 0.85), (-1.0, 0.9), (0.99, 0.7)])
def test_the_tower_equals_merging_for_real(thresholds: tuple[float, float]) -> None:
    """CLIP's blocks by hand: merged tokens are gone, and attention adds the logarithm of their sizes."""
    vlm = tiny_model("LLaVA")
    prepared = vlm.prepare(noise_picture(0), QUESTION)
    method = DyMU(thresholds)
    rows: list[torch.Tensor] = []
    tower = Tower(vlm.model)
    tower.blocks[0].register_forward_pre_hook(lambda block, args, kwargs: rows.append(args[0]), with_kwargs=True)
    features = vlm.encode(prepared, method)["image"]
    tower.blocks[0]._forward_pre_hooks.clear()
    tower.blocks[0]._forward_pre_hooks_with_kwargs.clear()
    states = rows[0][0]
    members = [[i] for i in range(len(states))]
    with torch.inference_mode():
        for block, threshold in zip(tower.blocks, thresholds, strict=True):
            attention = block.self_attn
            normed = block.layer_norm1(states)
            heads, width = attention.num_heads, attention.head_dim
            q, k, v = (
                projection(normed).view(-1, heads, width).transpose(0, 1)
                for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            sizes = torch.tensor([float(len(own)) for own in members])
            scores = q @ k.transpose(1, 2) / math.sqrt(width) + sizes.log()
            states = states + attention.out_proj((scores.softmax(-1) @ v).transpose(0, 1).flatten(1))
            key = k.mean(dim=0)
            key = key / key.norm(dim=-1, keepdim=True)
            odd = range(1, len(members), 2)
            into = {}
            for i in range(2, len(members), 2):  # the class token stays
                best = max(odd, key=lambda j: float(key[i] @ key[j]))
                if float(key[i] @ key[best]) > threshold:
                    into[i] = best
            merged_states, merged_members = [], []
            for j in [*range(0, len(members), 2), *odd]:  # the list goes on in this order
                if j in into:
                    continue
                own = [j, *(i for i, target in into.items() if target == j)]
                weight = torch.tensor([float(len(members[i])) for i in own])
                merged_states.append((states[own] * weight[:, None]).sum(dim=0) / weight.sum())
                merged_members.append(sorted(place for i in own for place in members[i]))
            states, members = torch.stack(merged_states), merged_members
            states = states + block.mlp(block.layer_norm2(states))
        everywhere = torch.empty(65, states.shape[-1])
        for state, own in zip(states, members, strict=True):
            everywhere[own] = state
        expected = vlm.model.model.multi_modal_projector(everywhere[1:])
    assert 1 < len(members) < 65
    torch.testing.assert_close(features.pooler_output[0], expected, rtol=0, atol=1e-5)
    groups = remembered(features).tower.groups
    assert sorted({int(groups[own[0]]) for own in members}) == sorted(own[0] for own in members)


@pytest.mark.parametrize("num_kept", [0.8, 0.5])
@pytest.mark.parametrize("family", ["LLaVA", "Qwen3-VL", "Pixtral"])
def test_thresholds_leave_the_share_that_was_wanted(family: str, num_kept: float) -> None:
    vlm = tiny_model(family)
    picture = noise_picture(3)
    vlm.encode(vlm.prepare(picture, "?"))  # the stock model installs hooks of its own when it first runs
    before = hooks(vlm)
    method = DyMU.find(vlm, [picture], num_kept)
    prepared = vlm.prepare(picture, "?")
    rows: TowerView = remembered(vlm.encode(prepared, method)["image"]).tower
    assert len(rows.groups.unique()) == pytest.approx(num_kept * rows.num_rows, abs=2)
    assert hooks(vlm) == before


def test_other_pictures_merge_by_what_they_show() -> None:
    """A picture of one color merges further than noise, by the same thresholds."""
    vlm = tiny_model("LLaVA")
    method = DyMU.find(vlm, [noise_picture(seed) for seed in range(3)], 0.6)
    plain = noise_picture(0).resize((1, 1)).resize((60, 40))
    left = [len(remembered(vlm.encode(vlm.prepare(each, "?"), method)["image"]).tower.groups.unique()) for each in
            (plain, noise_picture(7))]  # fmt: skip
    assert left[0] < left[1]


def test_nothing_merges_without_thresholds_or_above_all_scores(tiny: Vlm) -> None:
    inputs = tiny.prepare(noise_picture(0), QUESTION).inputs
    dense = logits(tiny, inputs)
    with DyMU()(tiny.model):
        assert torch.equal(logits(tiny, inputs), dense)
    with DyMU((1.5,))(tiny.model) as session:
        torch.testing.assert_close(logits(tiny, inputs), dense, rtol=0, atol=1e-5)
    assert not session.trace.merged.any()


def test_a_batch_equals_the_single_runs(tiny: Vlm) -> None:
    method = DyMU((0.5,))
    prompts = [tiny.prepare(noise_picture(seed), text).inputs for seed, text in enumerate(("Hm?", QUESTION))]
    with method(tiny.model):
        together = batch_of(tiny, prompts, "left")
        rows = logits(tiny, together)
        for row, prompt, mask in zip(rows, prompts, together["attention_mask"].bool(), strict=True):
            torch.testing.assert_close(row[mask], logits(tiny, prompt)[0], rtol=0, atol=1e-5)


def test_impossible_settings_are_refused_with_a_sentence(tiny: Vlm) -> None:
    with pytest.raises(InputError, match="needs 1 thresholds for this model, not 2"):
        tiny.encode(tiny.prepare(noise_picture(0), "?"), LOW)
    for bad in ("high", (None,), 3):
        with pytest.raises(InputError, match="thresholds"):
            DyMU(bad)
    with pytest.raises(InputError, match=r"between 0.0 and 1.0"):
        DyMU.find(tiny, [noise_picture(0)], 3)
    with pytest.raises(InputError, match="at least one picture"):
        DyMU.find(tiny, [])
    with pytest.raises(InputError, match="ties tokens"), Combined(DyMU((0.1,)), SkipVision(0.2, 0.3))(tiny.model):
        logits(tiny, tiny.prepare(noise_picture(0), "?").inputs)


@pytest.mark.parametrize("family", ["LLaVA", "Qwen2-VL", "Gemma 3"])
def test_a_tower_that_would_run_again_without_merging_is_refused(family: str) -> None:
    """In eval mode it does not run again."""
    vlm = tiny_model(family)
    trained = replace(vlm, model=copy.deepcopy(vlm.model).train().requires_grad_(True))
    inputs = trained.prepare(noise_picture(0), "What?").inputs
    method = DyMU((-1.0, -1.0))
    with checkpointing(trained, reentrant=False), method(trained.model):
        with pytest.raises(InputError, match="tower into eval mode"):
            trained.model(**inputs)
        trained.model.get_encoder(modality="image").eval()
        trained.model(**inputs).logits.sum().backward()
    assert all(weight.grad is not None for weight in trained.model.get_decoder().layers.parameters())
