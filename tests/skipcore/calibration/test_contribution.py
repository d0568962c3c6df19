"""Layer contributions: measured layer by layer, and an order that ShortV takes."""

from __future__ import annotations

import pytest
from shared_models import noise_picture

from skipcore import InputError, Vlm, layer_contributions
from skipcore.answering.agreement import answer_densely, log_probs_along
from skipcore.methods import ShortV


def test_contributions_are_the_kl_of_each_layer_frozen_alone(tiny: Vlm) -> None:
    pictures, done = [noise_picture(0), noise_picture(1)], []
    found = layer_contributions(
        tiny, pictures, "What is it?", answer_tokens=3, progress=lambda *step: done.append(step)
    )
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert min(found[:2]) > 0 == found[2]  # nobody reads what the last layer makes of a visual token
    asked = [answer_densely(tiny, picture, "What is it?", 3) for picture in pictures]
    alone = []
    for one in asked:
        frozen = log_probs_along(tiny, one.inputs, ShortV(1, (1,)), one.answer)
        alone.append(float((frozen.exp() * (frozen - one.dense)).sum(dim=-1).mean()))
    assert found[1] == pytest.approx(sum(alone) / 2, rel=1e-4)
    order = sorted(range(3), key=found.__getitem__)
    least, most = (
        sum(one.agreement(tiny, ShortV(1, chosen)).kl for one in asked) for chosen in (order[:1], order[-1:])
    )
    assert least < most


def test_bad_input_is_refused_with_a_sentence(tiny: Vlm) -> None:
    with pytest.raises(InputError, match="at least one picture"):
        layer_contributions(tiny, [], "What?")
    with pytest.raises(InputError, match="1 pictures but 2 questions"):
        layer_contributions(tiny, [noise_picture(0)], ["What?", "Where?"])
