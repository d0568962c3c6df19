"""A model's quality, split by split: accuracy of every method beside its FLOPs and a blind guesser, as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from skipcore.builtin.evaluation.asked import DEFAULT_SPLITS, AskedPicture, asked_pictures
from skipcore.builtin.evaluation.blind import blind_tally, guesser_for
from skipcore.builtin.evaluation.finished import Finished
from skipcore.builtin.evaluation.many_answers import evaluate
from skipcore.builtin.evaluation.prefill_cost import prefill_flops
from skipcore.builtin.evaluation.quality_record import ArmScore, Asked, Quality, SplitQuality
from skipcore.builtin.evaluation.scores import Score, Tally
from skipcore.builtin.scenes.sample import EVERYTHING
from skipcore.builtin.scenes.world_file import World, scenes_world
from skipcore.errors import InputError
from skipcore.methods import METHODS, Dense, Method, SkipVision
from skipcore.model.hardware import device_facts, versions
from skipcore.model.vlm import Vlm
from skipcore.progress_bar import progress_bar
from skipcore.provenance import model_sha256, now

DEFAULT_COUNTS = ((100, 156), (36, 100), (16, 64), (8, 32))


def methods_of(
    own: SkipVision | None,
    counts: Sequence[tuple[int, int]] = DEFAULT_COUNTS,
    retain: Sequence[str] = (),
    more: Sequence[Mapping[str, Any]] = (),
) -> list[Method]:
    """Dense, the model's own method at each of the counts under each retain rule, and more by their settings.

    Args:
        own: the method the model carries; None for the defaults.
        retain: names of rules; none: the method's own.
        more: settings that differ from the own method's; with "method" naming another one, all of that one's.

    Raises:
        InputError: a setting is unknown or impossible.
    """
    own = own or SkipVision()
    methods: list[Method] = [Dense()]
    for rule in retain or (own.retain,):
        methods += [replace(own, num_retained=kept, num_skipped=skipped, retain=rule) for kept, skipped in counts]
    return methods + [_method(own, settings) for settings in more]


def measure_quality(
    vlm: Vlm,
    methods: Sequence[Method],
    splits: Sequence[str] = DEFAULT_SPLITS,
    num_questions: int | None = None,
    finished: Finished | None = None,
    on_split: Callable[[Quality], None] = lambda result: None,
    world: World | None = None,
) -> Quality:
    """The score of every method on every split.

    Args:
        num_questions: to each split; None for the usual numbers.
        finished: what was answered before a kill.
        on_split: called with the result so far whenever a split is done.
        world: what the scenes may hold and the questions may name; None: everything that scenes can show.

    Raises:
        InputError: an unknown split, no questions, nothing of a split within the world, or a method that does not fit
            the model.
    """
    import accelerate  # the page reads records, and has no accelerate

    world = world or scenes_world()
    contents = world.contents() or EVERYTHING
    result = Quality(
        vlm.name,
        model_sha256(vlm),
        device_facts([vlm.device], str(vlm.model.dtype).removeprefix("torch.")),
        versions(accelerate),
        now(),
        {"things": sum(map(len, world.things.values())), "most_items": world.most_items},
        {},
    )
    asked = {split: asked_pictures(split, num_questions, world) for split in splits}
    flops = [prefill_flops(vlm, method) for method in (Dense(), *methods)]
    for split, pictures in asked.items():
        total = sum(len(each.questions) for each in pictures) * len(methods)
        with progress_bar(split, "answer", total) as bar:
            scores = evaluate(vlm, pictures, methods, finished, bar.update)
        blind = blind_tally(guesser_for(split, contents=contents), pictures)
        result.splits[split] = split_result(pictures, scores, flops[1:], flops[0], blind)
        on_split(result)
    return result


def split_result(
    pictures: Sequence[AskedPicture], scores: Sequence[Score], flops: Sequence[int], dense_flops: int, blind: Tally
) -> SplitQuality:
    """One split's part of the record."""
    arms = tuple(
        ArmScore(
            score.name,
            score.settings,
            score.accuracy,
            dict(score.by_kind),
            score.descriptions,
            number,
            round(number / dense_flops, 4),
        )
        for score, number in zip(scores, flops, strict=True)
    )
    return SplitQuality(**Asked.of(pictures, blind), arms=arms)


def write_json(values: Mapping[str, Any], path: Path) -> None:
    """Write a JSON file whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(json.dumps(values, indent=2) + "\n")
        os.replace(unfinished, path)
    except OSError as error:
        raise InputError(f"{path} could not be written ({error.strerror}). Name another output.") from error


def _method(own: SkipVision, settings: Mapping[str, Any]) -> Method:
    rest = dict(settings)
    name = rest.pop("method", "SkipVision")
    if name not in METHODS:
        raise InputError(f"There is no method '{name}'. Take one of {', '.join(METHODS)}.")
    try:
        return replace(own, **rest) if name == "SkipVision" else METHODS[name](**rest)
    except TypeError as error:
        raise InputError(f"These are no settings of {name}: {json.dumps(rest)} ({error}).") from error
