"""Evaluation: the right questions, honest judging, a guesser who does not look, and a kill that costs nothing."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest

pytest.importorskip("easy_vqa")

from shared_models import WIDTH, noise_picture, trained_summary

from skipcore import Dense, InputError, SkipVision, Vlm
from skipcore.builtin import __main__ as command_line
from skipcore.builtin.evaluation import many_answers as answering
from skipcore.builtin.evaluation.asked import AskedPicture, asked_pictures, touches_held_out
from skipcore.builtin.evaluation.blind import blind_tally, guesser_for, guesser_from
from skipcore.builtin.evaluation.evaluate import methods_of, split_result
from skipcore.builtin.evaluation.finished import Finished
from skipcore.builtin.evaluation.many_answers import evaluate
from skipcore.builtin.evaluation.prefill_cost import prefill_flops
from skipcore.builtin.evaluation.score_table import quality_table
from skipcore.builtin.evaluation.scores import Answered, Tally, score_of, tally_of
from skipcore.builtin.questions.questions import Question
from skipcore.builtin.scenes.scene_record import Background, Scene, Spot, Thing
from skipcore.builtin.scenes.splits import CELLS, is_pair_held_out, is_place_held_out
from skipcore.builtin.scenes.things import THINGS

SKIPPING = SkipVision(6, 10, summary=trained_summary(WIDTH))


def description(answer: str) -> Question:
    return Question("description", "Describe the picture.", answer, "description:describe the picture.")


def asked(*texts: str, answer: str = "yes", is_exact: bool = True) -> list[AskedPicture]:
    """A picture to each text."""
    return [
        AskedPicture(lambda seed=seed: noise_picture(seed), (Question("existence", text, answer, "f"),), is_exact)
        for seed, text in enumerate(texts)
    ]


def only_answer(vlm: Vlm, picture: AskedPicture, method) -> str:
    """What the stock `generate()` writes to one question, the picture given as pixels."""
    inputs = vlm.prepare(picture.draw(), picture.questions[0].text).inputs
    with method(vlm.model):
        written = vlm.model.generate(**inputs, max_new_tokens=answering.MAX_NEW_TOKENS, do_sample=False)
    return vlm.processor.tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()


@pytest.fixture
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model never ends by itself."""
    monkeypatch.setattr(answering, "MAX_NEW_TOKENS", 4)


@pytest.mark.parametrize("method", [Dense(), SKIPPING], ids=["dense", "skipping"])
def test_a_batch_is_answered_as_each_question_alone(tiny: Vlm, short_answers: None, method) -> None:
    pictures = asked("Is it a dog?", "Is it a cat?", "Is there anything at all?")
    first = pictures[0].questions[0]
    wanted = [only_answer(tiny, picture, method) for picture in pictures]
    right = [
        AskedPicture(picture.draw, (Question("count", picture.questions[0].text, answer, first.form),), True)
        for picture, answer in zip(pictures, wanted, strict=True)
    ]
    score = evaluate(tiny, right, [method])[0]
    assert (score.accuracy, score.questions, score.by_kind) == (1.0, 3, {"count": 1.0})
    assert evaluate(tiny, pictures, [method])[0].accuracy == 0.0


def test_pictures_are_encoded_once_for_all_methods(
    tiny: Vlm, short_answers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    encode = tiny.model.get_image_features

    def counted(pixel_values, **more):
        drawn.append(len(pixel_values))
        return encode(pixel_values=pixel_values, **more)

    monkeypatch.setattr(tiny.model, "get_image_features", counted)
    evaluate(tiny, asked("One?", "Two?"), [Dense(), SKIPPING, SkipVision(2, 8)])
    assert drawn == [1, 1]


def test_what_was_answered_is_not_asked_again(
    tiny: Vlm, short_answers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "PICTURES_IN_A_CHUNK", {"cpu": 2})
    file, methods = tmp_path / "answers.jsonl", [Dense(), SKIPPING]
    pictures = asked("One?", "Two?", "Three?", "Four?", "Five?")
    whole = evaluate(tiny, pictures, methods, Finished(file))
    lines = file.read_text().splitlines()
    assert len(lines) == 6

    file.write_text("\n".join(lines[:3]) + "\n" + lines[3][:40])  # killed while writing the fourth
    answered: list[int] = []
    greedy = answering.greedy

    def counted(vlm: Vlm, inputs: dict, *more) -> list[list[int]]:
        answered.append(len(inputs["input_ids"]))
        return greedy(vlm, inputs, *more)

    monkeypatch.setattr(answering, "greedy", counted)
    assert evaluate(tiny, pictures, methods, Finished(file)) == whole
    assert sum(answered) == 2 + 1 + 1
    answered.clear()
    assert evaluate(tiny, pictures, methods, Finished(file)) == whole and not answered

    evaluate(tiny, pictures[:2], [SkipVision(6, 10)], Finished(file))  # another summary
    assert sum(answered) == 2
    weight = tiny.model.get_decoder().norm.weight
    weight.data[0] += 1e-3
    try:
        evaluate(tiny, pictures[:2], [Dense()], Finished(file))  # other weights
    finally:
        weight.data[0] -= 1e-3
    assert sum(answered) == 4


def test_descriptions_are_judged_item_by_item() -> None:
    truth = description("There are three things. From left to right: two dogs and a red circle.")
    answers = [
        truth.answer,
        "There are two things: a red circle and a dog.",
        "There are three things: two dogs and a blue circle.",
        "There are four things: two dogs, a red circle and a cat.",
    ]
    tally = tally_of(Answered(truth, answer) for answer in answers)
    assert tally.accuracy == 0.25
    assert tally.descriptions == {
        "pictures": 4,
        "items_named": round((1 + 2 / 3 + 2 / 3 + 1) / 4, 4),
        "nothing_absent": 0.5,
    }
    assert tally_of([Answered(Question("count", "how many?", "two", "count:"), "2")]).descriptions is None


def test_exact_answers_must_be_exact() -> None:
    question = Question("yes or no", "is there a circle?", "yes", "f")
    assert Answered(question, "Yes, there is").is_right
    assert not Answered(question, "Yes, there is", is_exact=True).is_right
    assert Answered(question, " yes", is_exact=True).is_right


def test_tallies_add_up_and_survive_json() -> None:
    first = Tally(Counter(count=2, color=1), Counter(count=1), 0.0, 0)
    second = Tally(Counter(count=1), Counter(count=1), 0.0, 0)
    both = first + Tally.from_dict(json.loads(json.dumps(second.to_dict())))
    assert (both.accuracy, both.by_kind) == (0.5, {"color": 0.0, "count": round(2 / 3, 4)})
    with pytest.raises(InputError, match="at least one"):
        score_of(Dense(), Tally())


@pytest.mark.parametrize("split", ["validation", "test", "combinations", "style", "easy-vqa"])
def test_a_split_is_the_same_every_time(split: str) -> None:
    first, again = asked_pictures(split, 50), asked_pictures(split, 50)
    assert sum(len(each.questions) for each in first) == 50
    assert [each.questions for each in first] == [each.questions for each in again]
    assert first[0].draw().tobytes() == again[0].draw().tobytes()


def test_scene_splits_ask_different_things_and_some_pictures_are_not_square() -> None:
    splits = {split: asked_pictures(split, 200) for split in ("validation", "test")}
    assert splits["test"][0].draw().tobytes() != splits["validation"][0].draw().tobytes()
    sizes = [each.draw().size for each in splits["test"]]
    assert all(min(size) == 336 for size in sizes)
    assert 0.05 < sum(size != (336, 336) for size in sizes) / len(sizes) < 0.5


def test_style_asks_about_things_and_combinations_only_what_is_held_out() -> None:
    style = [question for each in asked_pictures("style", 60) for question in each.questions]
    assert all(question.about for question in style)
    kinds = Counter(question.kind for each in asked_pictures("combinations", 60) for question in each.questions)
    assert set(kinds) == {"place", "relation"}
    assert all(each.questions for split in ("combinations", "style") for each in asked_pictures(split, 60))


def test_what_touches_the_held_out() -> None:
    name, cell = next((kind.name, cell) for kind in THINGS for cell in CELLS if is_place_held_out(kind.name, cell))
    number = CELLS.index(cell)
    places = [((number % 3 + 0.5) / 3, (number // 3 + 0.5) / 3)]
    places += [((other % 3 + 0.5) / 3, (other // 3 + 0.5) / 3) for other in range(9) if other != number]
    ground = Background("plain", (200, 200, 200), (200, 200, 200), 0)

    def scene(place: tuple[float, float]) -> Scene:
        return Scene(ground, (Thing(name, "twemoji", Spot(*place, size=0.2)),))

    where = Question("place", f"where is the {name}?", "", "f", (name,))
    assert touches_held_out(where, scene(places[0]))
    free = next(place for place, other in zip(places[1:], [n for n in range(9) if n != number], strict=True)
                if not is_place_held_out(name, CELLS[other]))  # fmt: skip
    assert not touches_held_out(where, scene(free))
    assert not touches_held_out(Question("existence", "", "", "f", (name,)), scene(places[0]))
    names = [kind.name for kind in THINGS]
    held = next((a, b) for a in names for b in names if a < b and is_pair_held_out(a, b))
    asked_freely = next((a, b) for a in names for b in names if a < b and not is_pair_held_out(a, b))
    assert touches_held_out(Question("relation", "", "", "f", held), scene(free))
    assert not touches_held_out(Question("relation", "", "", "f", asked_freely), scene(places[0]))
    assert not touches_held_out(Question("existence", "", "", "f", held), scene(free))


def test_easy_vqa_is_the_whole_test_split() -> None:
    pictures = asked_pictures("easy-vqa")
    assert (len(pictures), sum(len(each.questions) for each in pictures)) == (1000, 9673)
    assert all(each.is_exact for each in pictures)


def test_bad_splits_are_told() -> None:
    with pytest.raises(InputError, match="Take one of"):
        asked_pictures("train")
    with pytest.raises(InputError, match="at least 1"):
        asked_pictures("test", 0)


def test_the_guesser_takes_the_most_common_answer_of_the_form() -> None:
    def question(form: str, answer: str, kind: str = "color") -> Question:
        return Question(kind, "", answer, form)

    guesser = guesser_from(
        [question("color:a", "red"), question("color:a", "red"), question("color:a", "blue")]
        + [question("color:b", "blue")] * 3
    )
    assert guesser.guess(question("color:a", "?")) == "red"
    assert guesser.guess(question("color:new", "?")) == "blue"
    assert guesser.guess(question("color:b", "there is no sign", kind="absent")) == "blue"
    assert guesser.guess(question("sign:new", "?")) == "yes"
    pictures = asked("One?", "Two?", answer="no")
    assert blind_tally(guesser, pictures).accuracy == 0.0


def test_blind_guessers_do_badly_where_looking_is_needed() -> None:
    tally = blind_tally(guesser_for("test", 2000), asked_pictures("test", 400))
    assert tally.asked.total() == 400
    assert tally.accuracy < 0.5 and tally.by_kind["existence"] < 0.7
    assert 0.5 < blind_tally(guesser_for("easy-vqa"), asked_pictures("easy-vqa")).accuracy < 0.8


def test_prefill_flops_fall_with_the_budget(tiny: Vlm) -> None:
    dense, half, few = (prefill_flops(tiny, method) for method in (Dense(), SkipVision(20, 20), SkipVision(6, 10)))
    assert 0 < few < half < dense
    assert prefill_flops(tiny, SkipVision(1.0, 0.0)) == dense


def test_methods_of_every_rule_and_setting() -> None:
    own = SkipVision(retain="uniform")
    assert [method.label for method in methods_of(own, [(9, 9)])] == ["Dense", "Skip-Vision 9+9"]
    assert methods_of(own, [(9, 9)])[1].retain == "uniform"
    rules = [method.retain for method in methods_of(own, [(9, 9), (8, 8)], ["raster", "random"])[1:]]
    assert rules == ["raster", "raster", "random", "random"]
    more = methods_of(own, [], more=[{"num_retained": 3, "num_skipped": 4}, {"method": "Dense"}])
    assert more[1:] == [SkipVision(3, 4, retain="uniform"), Dense()]
    for wrong in ({"method": "Nothing"}, {"budget": 3}, {"num_retained": -1}):
        with pytest.raises(InputError):
            methods_of(own, [], more=[wrong])


def test_the_table_shows_every_arm_beside_the_guesser(tiny: Vlm, short_answers: None) -> None:
    pictures, methods = asked("One?", "Two?"), [Dense(), SKIPPING]
    guesser = guesser_from(question for each in pictures for question in each.questions)
    result = split_result(pictures, evaluate(tiny, pictures, methods), [200, 50], 200, blind_tally(guesser, pictures))
    assert result.blind.accuracy == 1.0
    assert [arm.flops_ratio for arm in result.arms] == [1.0, 0.25]
    assert set(asdict(result.arms[1])) == {
        "name", "settings", "accuracy", "by_kind", "descriptions", "flops_prefill", "flops_ratio",
    }  # fmt: skip
    table = quality_table("test", result)
    assert "Skip-Vision 6+10 saliency" in table and "25%" in table and "blind guess" in table


def test_the_command_tells_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert command_line.main(["evaluate", "--model", str(tmp_path)]) == 2
    assert "cannot be loaded" in capsys.readouterr().err
    assert command_line.main(["train", "--recipe", "no such"]) == 2
    assert "There is no recipe" in capsys.readouterr().err
    with pytest.raises(SystemExit) as refused:
        command_line.main(["evaluate", "--counts", "100-156"])
    assert refused.value.code == 2
