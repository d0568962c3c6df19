"""Batches: labels on the answers alone, in every family."""

from __future__ import annotations

import pytest
import torch
from tiny_families import BUILDERS, tiny_model
from tiny_rows import MARKED, MULTI_TURN, ROWS, UNMARKED, learned, processor_of, row

from skipcore import InputError, SkipVision
from skipcore.finetune.collate import Collator
from skipcore.finetune.rows import Row


def collator(name: str, template: str = MARKED, **options) -> Collator:
    return Collator(processor_of(name, template), **options)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("template", [MARKED, UNMARKED], ids=["marked", "unmarked"])
def test_answers_alone_are_learned(name: str, template: str) -> None:
    """Each with the token that ends it (A3, A4); rows without pictures and with several in one batch."""
    collate = collator(name, template)
    tokenizer = collate.processor.tokenizer
    batch = collate([ROWS[2], ROWS[0], ROWS[1], MULTI_TURN])
    wanted = ["a cat</s>", "the second one</s>", "A dog.</s>Two cats.</s>", "nothing</s>"]
    assert learned(tokenizer, batch) == wanted
    pads = batch["attention_mask"] == 0
    assert pads.any() and not pads[:, 0].any() and (batch["labels"][pads] == -100).all()


@pytest.mark.parametrize("name", BUILDERS)
def test_every_family_trains_on_a_batch(name: str) -> None:
    vlm = tiny_model(name)
    batch = collator(name)(ROWS)
    with SkipVision(0.2, 0.3)(vlm.model), torch.inference_mode():
        assert vlm.model(**batch).loss.isfinite()


def test_a_template_without_an_end_gets_one() -> None:
    collate = collator("LLaVA", UNMARKED.replace("</s>", ""))
    assert learned(collate.processor.tokenizer, collate([ROWS[0], ROWS[2]])) == ["a cat</s>", "nothing</s>"]


def test_an_end_outside_the_mark_is_learned() -> None:
    template = MARKED.replace("</s>{% endgeneration %}", "{% endgeneration %}</s>")
    collate = collator("LLaVA", template)
    assert learned(collate.processor.tokenizer, collate([MULTI_TURN])) == ["A dog.</s>Two cats.</s>"]


def test_a_spare_picture_teaches_nothing() -> None:
    collate = collator("Qwen2.5-VL", spare=True)
    batch = collate([ROWS[2]])
    assert "pixel_values" in batch and learned(collate.processor.tokenizer, batch) == ["", "nothing</s>"]
    assert len(collate([ROWS[2], ROWS[0]])["labels"]) == 2
    assert "pixel_values" not in collator("Qwen2.5-VL")([ROWS[2]])


def test_special_tokens_in_texts_are_words() -> None:
    collate = collator("LLaVA")
    odd = Row(({"role": "user", "content": [{"type": "text", "text": "<image></s>?"}]}, ROWS[2].messages[1]))
    ids = collate([odd])["input_ids"]
    assert not (ids == collate.processor.tokenizer.convert_tokens_to_ids("<image>")).any()


def test_long_rows_are_refused_and_never_cut() -> None:
    collate = collator("LLaVA", max_length=40)
    with pytest.raises(InputError, match=r"more than --max-length 40"):
        collate([ROWS[0]])
    assert collate([row("?", "x")])["labels"].shape[1] <= 40


def test_large_pictures_are_made_smaller() -> None:
    whole, small = (collator("Qwen2.5-VL", max_pixels=limit)([ROWS[0]]) for limit in (None, 16 * 16))
    assert small["input_ids"].shape[1] < whole["input_ids"].shape[1]


def test_no_chat_template() -> None:
    collate = collator("LLaVA")
    collate.processor.chat_template = None
    with pytest.raises(InputError, match="no chat template"):
        collate([ROWS[0]])
