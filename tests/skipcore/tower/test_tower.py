"""What methods see of the vision tower: the right patches of each token, and scores of full attention matrices."""

from __future__ import annotations

import pytest
import torch
from model_runs import hooks, logits
from shared_models import noise_picture
from tiny_families import BUILDERS, tiny_model
from tower_reference import attention_of_rows, full_matrices

from skipcore import Vlm
from skipcore.engine.prompts import read_prompts
from skipcore.model.vlm import Prepared
from skipcore.plan.tower_view import TowerLook
from skipcore.tower.blocks import Tower
from skipcore.tower.observer import look_at_tower

LOOKS = frozenset(TowerLook) - {TowerLook.GROUPS}
SIZES = ((60, 40), (40, 60), (90, 40))


@pytest.fixture(params=BUILDERS)
def vlm(request: pytest.FixtureRequest) -> Vlm:
    return tiny_model(request.param)


def tokens_of(vlm: Vlm, prepared: Prepared) -> torch.Tensor:
    """The features of all visual tokens, as they stand in the prompt."""
    found: list[torch.Tensor] = []
    hook = vlm.model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: found.append(kwargs["inputs_embeds"][0]), with_kwargs=True
    )
    logits(vlm, prepared.inputs)
    hook.remove()
    prompts = read_prompts(vlm.family, vlm.model.config, prepared.inputs)
    return torch.cat([found[0][picture.positions] for picture in prompts.pictures[0]])


@pytest.mark.parametrize("size", SIZES)
def test_a_patch_moves_the_tokens_it_feeds_and_no_other(vlm: Vlm, size: tuple[int, int], monkeypatch) -> None:
    """Found by touching one row of the last block at a time."""
    prepared = vlm.prepare([noise_picture(0, *size), noise_picture(1, 48, 48)], "?")
    tower, touched = Tower(vlm.model), [0]
    block = tower.blocks[tower.last]
    forward = block.forward

    def touching(*args, **kwargs):
        output = forward(*args, **kwargs)
        states = output[0] if isinstance(output, tuple) else output
        rows = states.reshape(-1, states.shape[-1]).clone()
        rows[touched[0]] += 1000 * torch.randn(states.shape[-1])
        return (rows.view(states.shape), *output[1:]) if isinstance(output, tuple) else rows.view(states.shape)

    with torch.inference_mode(), look_at_tower(vlm.model, LOOKS) as recorder:
        before = tokens_of(vlm, prepared)
    assert recorder is not None
    rows = recorder.rows()
    tiles = read_prompts(vlm.family, vlm.model.config, prepared.inputs).tiles
    (pictures,) = [own for own in tiles.values() if own]
    patches = torch.cat(vlm.family.patches(vlm.model.config, prepared.inputs, pictures, rows.num_rows))
    assert len(patches) == len(before) and int(patches.max()) < rows.num_rows
    assert len(patches.unique()) == patches.numel()
    shrunk = vlm.name == "LLaVA-OneVision"  # a shrunk token reads its neighbors, too
    monkeypatch.setattr(block, "forward", touching)
    generator = torch.Generator().manual_seed(0)
    for row in torch.randperm(rows.num_rows, generator=generator)[:12].tolist():
        touched[0] = row
        moved = (tokens_of(vlm, prepared) - before).abs().amax(dim=1) > 1e-3
        fed = (patches == row).any(dim=1)
        assert torch.equal(moved, fed) or (shrunk and bool((moved | ~fed).all())), row


def test_attention_is_that_of_the_full_matrix(vlm: Vlm) -> None:
    """Scores and keys against eager attention's own matrices; looking changes no feature, and leaves no trace."""
    prepared = vlm.prepare([noise_picture(0), noise_picture(1, 40, 60)], "?")
    tower = Tower(vlm.model)
    attention = tower.attention(tower.last)
    plain, hooks_before, own = vlm.encode(prepared), hooks(vlm), attention.config._attn_implementation
    with torch.inference_mode(), look_at_tower(vlm.model, LOOKS) as recorder:
        seen = vlm.encode(prepared)
    assert recorder is not None
    rows = recorder.rows()
    assert hooks(vlm) == hooks_before and attention.config._attn_implementation == own
    assert not hasattr(attention, "skip_observer")
    for one, other in zip(features(plain), features(seen), strict=True):
        assert torch.equal(one, other)

    with full_matrices(vlm) as matrices:
        vlm.encode(prepared)
    torch.testing.assert_close(rows.attention, attention_of_rows(vlm, matrices), rtol=0, atol=1e-6)
    assert rows.keys is not None and rows.middle is not None and rows.deep is not None
    assert len(rows.keys) == len(rows.middle) == len(rows.deep) == rows.num_rows


def features(encoded: dict) -> list[torch.Tensor]:
    pooled = encoded["image"].pooler_output
    return list(pooled) if isinstance(pooled, list | tuple) else [pooled]
