"""Batches: the processor's own prompts, rows that do not see each other, labels and positions where they belong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("easy_vqa")

from training_runs import STAGE, TINY, one_thread, processor, tokenizer

from skipcore import AdaptiveSummary, Vlm
from skipcore.builtin.training.batches import NO_LABEL, SOURCES, draw_examples, image_positions, make_batch
from skipcore.builtin.training.objective import TrainingModel, answer_loss
from skipcore.builtin.training.patch_labels import PatchHeads
from skipcore.builtin.training.recipe import Mixture
from skipcore.builtin.training.untrained import END, answer_text, build_model, prompt_end
from skipcore.builtin.training.word_alignment import WordAlignment
from skipcore.families import family_of

MIXED = replace(STAGE, mixture=Mixture(scenes=0.4, easy_vqa=0.3, easy_drawn=0.3))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def trained() -> TrainingModel:
    """Untrained, with weights large enough for every path to matter."""
    model = build_model(tokenizer(), TINY.size, seed=1)
    generator = torch.Generator().manual_seed(1)
    for weights in model.parameters():
        if weights.ndim > 1:
            weights.data.normal_(0, 0.15, generator=generator)
    return TrainingModel(model, AdaptiveSummary(32), PatchHeads(32), WordAlignment(tokenizer())).eval()


def examples_of(stage, seed: int, pictures: int, questions: int):
    return draw_examples(stage, np.random.default_rng(seed), pictures, questions)


@pytest.mark.parametrize(
    "text", ["what color is the circle?", "  Żółć\n\t🙂👩‍🚀 \u200b 你好", "WHAT COLOR", "x" * 500, "", "<b> a  b ' n't"]
)
@pytest.mark.parametrize("vocabulary", [259, 512])
def test_tokenizer_loses_nothing(text: str, vocabulary: int) -> None:
    learned = tokenizer(vocabulary)
    assert learned.decode(learned.encode(text, add_special_tokens=False)) == text
    assert len(learned) == vocabulary


@pytest.mark.parametrize("seed", range(4))
def test_training_prompt_is_the_processor_s(trained: TrainingModel, seed: int) -> None:
    """Token for token what `Vlm.prepare` gives the model when it is asked, and nearly the same pixels."""
    stage = replace(MIXED, image_side=336)
    example = examples_of(stage, seed, pictures=1, questions=1)[0]
    batch = make_batch([example], 336, processor(), one_question_a_row=True)
    vlm = Vlm(trained.model, processor(), family_of(trained.model.config), "tiny")
    question, answer = example.questions[0]
    inputs = vlm.prepare(Image.fromarray(np.ascontiguousarray(example.pixels)), question).inputs
    length = inputs["input_ids"].shape[1]
    assert torch.equal(batch.input_ids[:, :length], inputs["input_ids"])
    assert processor().tokenizer.decode(batch.input_ids[0, length:]) == answer_text(answer)
    assert torch.equal(batch.position_ids[0], torch.arange(batch.position_ids.shape[1]))
    assert (batch.labels[:, :length] == NO_LABEL).all()
    assert torch.equal(batch.labels[:, length:], batch.input_ids[:, length:])
    difference = (batch.pixel_values - inputs["pixel_values"]).abs()
    if len(example.pixels) == 336:
        assert difference.max() < 1e-5
    else:  # enlarged in floats here, in rounded steps there
        assert difference.mean() < 2e-3 and difference.max() < 0.2


@pytest.mark.parametrize("side", [84, 168, 336])
def test_features_are_those_of_the_stock_model(trained: TrainingModel, side: int) -> None:
    """What training calls directly equals `get_image_features`, where the stock call takes pictures of that size."""
    examples = examples_of(replace(STAGE, image_side=side), 2, pictures=2, questions=1)
    batch = make_batch(examples, side, processor(), one_question_a_row=True)
    seen: list[torch.Tensor] = []
    hook = trained.model.model.multi_modal_projector.register_forward_hook(lambda *call: seen.append(call[2]))
    with torch.no_grad():
        trained(batch)
        hook.remove()
        stock = trained.model.get_image_features(
            pixel_values=batch.pixel_values, interpolate_pos_encoding=side != 336, return_dict=True
        )
    torch.testing.assert_close(seen[0], torch.stack(list(stock.pooler_output)).view_as(seen[0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", [84, 336])
def test_answer_loss_is_that_of_the_stock_model(trained: TrainingModel, side: int) -> None:
    """One answer a row of one length: the mean over tokens, as the stock loss. Padding and positions take part."""
    examples = examples_of(replace(STAGE, image_side=side), 6, pictures=3, questions=1)
    told = [(question, answer) for example, answer in zip(examples, ("a", "b", "c"), strict=True)
            for question, _ in example.questions[:1]]  # fmt: skip
    examples = [replace(each, questions=(pair,)) for each, pair in zip(examples, told, strict=True)]
    batch = make_batch(examples, side, processor(), one_question_a_row=True)
    with torch.no_grad():
        loss = trained(batch).answers
        features = trained.model.get_image_features(
            pixel_values=batch.pixel_values, interpolate_pos_encoding=side != 336, return_dict=True
        )
        stock = trained.model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            labels=batch.labels,
            mm_encoder_outputs={"image": features},
        ).loss
    torch.testing.assert_close(loss, stock, rtol=1e-5, atol=1e-5)


def test_questions_of_one_row_do_not_see_each_other(trained: TrainingModel) -> None:
    """Packed, every question gets the loss it has alone, and so does each answer."""
    examples = examples_of(MIXED, 5, pictures=3, questions=4)
    assert max(len(example.questions) for example in examples) > 2
    results = []
    for one_question_a_row in (False, True):
        batch = make_batch(examples, 84, processor(), one_question_a_row)
        with torch.no_grad():
            results.append(trained(batch))
        assert len(batch.input_ids) == (sum(len(each.questions) for each in examples) if one_question_a_row else 3)
    torch.testing.assert_close(results[0].answers, results[1].answers, rtol=0, atol=1e-5)
    assert torch.equal(results[0].is_right, results[1].is_right)
    torch.testing.assert_close(results[0].patches, results[1].patches)


def test_a_packed_question_would_see_the_others_without_the_mask(trained: TrainingModel) -> None:
    """The test above can fail: under a plain causal mask the loss is another one."""
    examples = examples_of(MIXED, 5, pictures=3, questions=4)
    batch = make_batch(examples, 84, processor(), one_question_a_row=False)
    as_one = replace(batch, part=batch.part.clamp(max=1))
    with torch.no_grad():
        good, bad = trained(batch).answers, trained(as_one).answers
    assert abs(good - bad) > 1e-3


def test_layout_of_a_packed_row() -> None:
    """Labels, answers and positions of every question, read back from the tokens."""
    examples = examples_of(MIXED, 7, pictures=4, questions=3)
    batch = make_batch(examples, 84, processor(), one_question_a_row=False)
    tokens = processor().tokenizer
    start = len(tokens.encode("USER: ", add_special_tokens=False))
    assert batch.picture.tolist() == [0, 1, 2, 3]
    number = 0
    for row, example in enumerate(examples):
        ids, positions = batch.input_ids[row], batch.position_ids[row]
        assert positions[:start].tolist() == list(range(start))
        is_image = ids == processor().image_token_id
        assert (positions[is_image] - start).tolist() == image_positions(84)
        place = start + 36
        for question, answer in example.questions:
            text = prompt_end(question) + answer_text(answer)
            is_answer = batch.answer[row] == number
            told = is_answer.nonzero().flatten()
            assert tokens.decode(ids[place : told[-1] + 1]) == text
            assert tokens.decode(ids[is_answer]) == answer_text(answer) and answer_text(answer).endswith(END)
            assert torch.equal(batch.labels[row][is_answer], ids[is_answer])
            assert positions[place : told[-1] + 1].tolist() == [start + 576 + i for i in range(told[-1] + 1 - place)]
            assert batch.source[number] == example.source
            place, number = int(told[-1]) + 1, number + 1
        assert (ids[place:] == tokens.pad_token_id).all()
    assert ((batch.labels != NO_LABEL) == (batch.answer >= 0)).all()
    assert len(batch.source) == number


def test_long_answers_weigh_the_root_of_their_length(trained: TrainingModel) -> None:
    example = examples_of(STAGE, 1, pictures=1, questions=1)[0]
    pairs = (("one?", "no"), ("describe.", "a dog, a cat and a very blue sign"))
    losses = {}
    for name, questions in {"short": pairs[:1], "long": pairs[1:], "both": pairs}.items():
        batch = make_batch([replace(example, questions=questions)], 84, processor(), True)
        with torch.no_grad():
            losses[name] = trained(batch).answers
        lengths = batch.answer[batch.answer >= 0].bincount().float()
    weight = lengths.sqrt() / lengths.sqrt().sum()
    torch.testing.assert_close(losses["both"], weight[0] * losses["short"] + weight[1] * losses["long"])


def test_an_answer_is_right_only_as_a_whole(trained: TrainingModel) -> None:
    """Labels taken from the model's own choices are right; one of them changed is wrong."""
    batch = make_batch(examples_of(STAGE, 3, pictures=2, questions=2), 84, processor(), one_question_a_row=True)
    with torch.no_grad():
        features = torch.zeros(2, 36, 32)
        seen: list[torch.Tensor] = []
        hook = trained.model.lm_head.register_forward_hook(lambda *call: seen.append(call[2].argmax(-1)))
        answer_loss(trained.model, features, batch)
        hook.remove()
        labels = batch.labels.clone()
        labels[:, 1:][labels[:, 1:] != NO_LABEL] = seen[0]
        right = answer_loss(trained.model, features, replace(batch, labels=labels))[1]
        assert right.all()
        first = (batch.answer == 0).nonzero()[0]
        labels[first[0], first[1]] = (labels[first[0], first[1]] + 1) % 500
        right = answer_loss(trained.model, features, replace(batch, labels=labels))[1]
    assert right.tolist() == [False, *[True] * (len(right) - 1)]


def test_the_same_state_draws_the_same_batch() -> None:
    batches = [
        make_batch(examples_of(MIXED, seed, pictures=4, questions=2), 84, processor(), True) for seed in (5, 5, 6)
    ]
    for field in fields(batches[0]):
        first, again = (getattr(batch, field.name) for batch in batches[:2])
        assert torch.equal(first, again), field.name
    assert not torch.equal(batches[0].pixel_values, batches[2].pixel_values)


def test_mixtures_and_questions_are_as_the_stage_says() -> None:
    examples = examples_of(MIXED, 9, pictures=150, questions=3)
    shares = np.bincount([example.source for example in examples], minlength=3) / 150
    assert shares == pytest.approx([0.4, 0.3, 0.3], abs=0.12)
    for example in examples:
        assert 1 <= len(example.questions) <= 3 and len(set(example.questions)) == len(example.questions)
        assert example.pixels.dtype == np.uint8
        assert (example.patches.noun >= 0).all() == (SOURCES[example.source] == "scenes")
    counted = examples_of(replace(STAGE, question_shares={"count": 1.0}), 9, pictures=30, questions=1)
    asked = [example for example in counted if SOURCES[example.source] == "scenes"]
    assert asked and all("how many" in e.questions[0][0].lower() or "count" in e.questions[0][0].lower()
                         or "number" in e.questions[0][0].lower() for e in asked)  # fmt: skip


def test_small_pictures_take_the_places_of_large_ones() -> None:
    assert image_positions(336) == list(range(576))
    assert image_positions(168)[:3] == [0, 2, 4] and image_positions(168)[12] == 48
