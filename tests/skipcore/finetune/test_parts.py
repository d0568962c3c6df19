"""Which parts of a model train, and that the others stay as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from tiny_families import BUILDERS, WIDTH, tiny_model
from tiny_rows import trainable
from tiny_tuner import tuner

from skipcore import AdaptiveSummary, InputError, SkipVision
from skipcore.finetune.parts import PARTS, decoder_linears, parts_of, table_of_parts, train_parts


@pytest.mark.parametrize("name", BUILDERS)
def test_every_family_has_its_parts(name: str) -> None:
    model = tiny_model(name).model
    parts = parts_of(model)
    assert [part for part in PARTS if parts[part]] == ["tower", "connector", "decoder"]
    assert sum(len(own) for own in parts.values()) == len(list(model.parameters()))
    names = {parameter: name for name, parameter in model.named_parameters()}
    connector = {names[parameter] for parameter in parts["connector"]}
    assert all(re.search(r"projector|connector|\.merger\.|downsample|newline", each) for each in connector), connector
    assert not any("deepstack" in each for each in connector)


@pytest.mark.parametrize("name", BUILDERS)
def test_adapters_go_to_the_decoder_alone(name: str) -> None:
    model = tiny_model(name).model
    pattern = re.compile(decoder_linears(model))
    matched = {each for each, _ in model.named_modules() if pattern.fullmatch(each)}
    inside = {f"{each}" for each, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    decoder = {id(module) for module in model.get_decoder().layers.modules()}
    assert matched == {each for each in inside if id(model.get_submodule(each)) in decoder}
    kinds = {each.rsplit(".", 1)[-1] for each in matched}
    assert {"q_proj", "k_proj", "v_proj", "o_proj"} <= kinds
    if "MoE" not in name and "4.5V" not in name:
        assert kinds & {"down_proj"} and kinds & {"gate_proj", "gate_up_proj"}


@pytest.mark.parametrize("name", ["LLaVA", "Qwen3-VL"])
def test_frozen_parts_stay_bit_equal(name: str, tmp_path: Path) -> None:
    """A11."""
    vlm = trainable(name)
    train_parts(vlm.model, ["connector", "decoder"])
    trainer = tuner(vlm, tmp_path, SkipVision(0.2, 0.3, summary=AdaptiveSummary(WIDTH)))
    before = {part: [each.clone() for each in own] for part, own in parts_of(vlm.model).items()}
    trainer.train()
    for part, own in parts_of(vlm.model).items():
        same = [torch.equal(one, other) for one, other in zip(own, before[part], strict=True)]
        assert all(same) if part == "tower" else not all(same), part
    assert len({line.split()[0] for line in table_of_parts(vlm.model).splitlines()}) == 5
    with pytest.raises(InputError, match="no part head"):
        train_parts(vlm.model, ["head"])
