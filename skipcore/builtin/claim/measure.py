"""The whole measurement: train the arms, evaluate them, write JSON, table and log."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import accelerate
import numpy as np

from skipcore.builtin.claim.claim_arms import ARMS, Arm, start_arms
from skipcore.builtin.claim.claim_record import ArmResult, Claim, ClaimSplit, StepSeconds
from skipcore.builtin.claim.claim_tables import claim_table
from skipcore.builtin.claim.turns import STEPS_COUNTED, first_parts, step_flops, train_by_turns
from skipcore.builtin.evaluation.asked import AskedPicture, asked_pictures
from skipcore.builtin.evaluation.blind import blind_tally, guesser_for
from skipcore.builtin.evaluation.evaluate import write_json
from skipcore.builtin.evaluation.finished import Finished
from skipcore.builtin.evaluation.many_answers import evaluate
from skipcore.builtin.evaluation.quality_record import Asked
from skipcore.builtin.evaluation.scores import Score
from skipcore.builtin.scenes.sample import EVERYTHING
from skipcore.builtin.scenes.world_file import read_world, scenes_world
from skipcore.builtin.training.recipe import Recipe
from skipcore.builtin.training.runs import Run
from skipcore.errors import InputError
from skipcore.families.llava import LLAVA
from skipcore.json_lines import Line
from skipcore.methods import Dense, Method, SkipVision
from skipcore.methods.retain import RETAIN_RULES
from skipcore.model.hardware import device_facts, versions
from skipcore.model.vlm import Vlm
from skipcore.progress_bar import progress_bar
from skipcore.provenance import folder_sha256, now

NO_PEAK = "Peak memory is known on a GPU only: on the CPU torch does not count what it allocates."
LAST_STEPS = 20
"""The final loss is the mean over so many last steps."""


def measure_claim(
    recipe: Recipe,
    start: Path,
    output: Path,
    folder: Path,
    *,
    steps: int | None = None,
    split: str = "test",
    num_questions: int | None = None,
    workers: int = 0,
) -> str:
    """Train, evaluate and write the claim; after a kill, go on where it was.

    Args:
        recipe: one stage of full-size pictures that keeps the tower.
        start: the model folder whose weights all arms start with; scenes and questions keep to its world.
        output: the JSON's file; the table (.md) and the log of all steps (.jsonl) go beside it.
        folder: where checkpoints and logs go meanwhile.
        steps: of each arm, instead of the recipe's.
        split, num_questions: what the arms are asked under each method.
        workers: processes that draw pictures.

    Returns:
        The table.

    Raises:
        InputError: the recipe, the start, the split or the folder does not fit; says what to change.
    """
    world = read_world(start) or scenes_world()
    contents = world.contents() or EVERYTHING
    recipe = replace(recipe, stages=tuple(replace(stage, contents=contents) for stage in recipe.stages))
    asked = asked_pictures(split, num_questions, world)
    runs = start_arms(recipe, start, steps, workers)
    start_sha256 = folder_sha256(start)
    _check_folder(folder, runs, start_sha256)
    parts = first_parts(runs["dense"])
    flops = {
        name: step_flops(run, parts, STEPS_COUNTED if 0 < run.recipe.stages[0].skipping.share < 1 else 1)
        for name, run in runs.items()
    }
    log = train_by_turns(runs, folder)
    evaluated = _evaluate_arms(runs, asked, Finished(folder / "answers.jsonl"))
    blind = blind_tally(guesser_for(split, contents=contents), asked)
    run = runs["dense"]
    stage = run.recipe.stages[0]
    claim = Claim(
        recipe=recipe.name,
        steps=stage.steps,
        pictures_per_step=stage.pictures,
        questions_per_picture=stage.questions,
        start_sha256=start_sha256,
        device=device_facts([run.accelerator.device], _dtype(run)),
        versions=versions(accelerate),
        date=now(),
        split=ClaimSplit(**Asked.of(asked, blind), name=split),
        arms=arm_results(log, flops, evaluated),
        notes=() if run.accelerator.device.type == "cuda" else (NO_PEAK,),
    )
    write_json(claim.to_dict(), output)
    table = claim_table(claim)
    output.with_suffix(".md").write_text(table + "\n")
    shutil.copyfile(folder / "log.jsonl", output.with_suffix(".jsonl"))
    return table


def arm_results(
    log: list[Line], flops: dict[str, dict[str, int]], evaluated: dict[str, list[Score]]
) -> tuple[ArmResult, ...]:
    """What each arm took and reached."""
    arms = [_arm_result(arm, log, flops[arm.name], evaluated[arm.name]) for arm in ARMS]
    dense = arms[0]
    return tuple(
        replace(
            arm,
            time_percent=_percent(arm.step_seconds.median, dense.step_seconds.median),
            mean_time_percent=_percent(arm.step_seconds.mean, dense.step_seconds.mean),
            flops_percent=_percent(arm.flops_per_step, dense.flops_per_step),
            decoder_flops_percent=_percent(arm.decoder_flops_per_step, dense.decoder_flops_per_step),
            peak_memory_percent=_percent(arm.peak_memory_bytes, dense.peak_memory_bytes),
        )
        for arm in arms
    )


def _arm_result(arm: Arm, log: list[Line], flops: dict[str, int], evaluated: list[Score]) -> ArmResult:
    own = [line for line in log if line["arm"] == arm.name]
    warm = [line for line in own if line["is_warm"]] or own
    seconds = np.array([line["seconds"] for line in warm])
    median, p10, p90 = (round(float(np.quantile(seconds, share)), 4) for share in (0.5, 0.1, 0.9))
    peaks = [line["peak_memory_bytes"] for line in warm if line["peak_memory_bytes"] is not None]
    return ArmResult(
        name=arm.name,
        title=arm.title,
        skipping=arm.skipping,
        step_seconds=StepSeconds(round(float(seconds.mean()), 4), median, p10, p90, len(seconds)),
        flops_per_step=flops["everything"],
        decoder_flops_per_step=flops["decoder"],
        peak_memory_bytes=max(peaks) if peaks else None,
        last_loss=round(float(np.mean([line["loss"] for line in own[-LAST_STEPS:]])), 4),
        evaluated=tuple(evaluated),
    )


def methods_for(name: str, run: Run) -> list[Method]:
    """How an arm's weights are asked: dense, at two budgets, and, if it was trained to skip, by every retain rule.

    Of the dense arm, the budgets are skipping switched on without training.
    """
    own = SkipVision(num_retained=100, num_skipped=156, retain="saliency", summary=run.summary)
    methods: list[Method] = [Dense(), own, replace(own, num_retained=36, num_skipped=100)]
    if name != "dense":
        methods += [replace(own, retain=rule) for rule in RETAIN_RULES if rule != own.retain]
    return methods


def _evaluate_arms(runs: dict[str, Run], asked: list[AskedPicture], finished: Finished) -> dict[str, list[Score]]:
    methods = {name: methods_for(name, run) for name, run in runs.items()}
    total = sum(len(each.questions) for each in asked) * sum(len(each) for each in methods.values())
    evaluated = {}
    with progress_bar("asking", "answer", total) as bar:
        for name, run in runs.items():
            evaluated[name] = evaluate(vlm_of(run), asked, methods[name], finished, bar.update)
    return evaluated


def vlm_of(run: Run) -> Vlm:
    """A run's model, ready to answer."""
    return Vlm(run.model.eval(), run.processor, LLAVA, run.recipe.name)


def _check_folder(folder: Path, runs: dict[str, Run], start_sha256: str | None) -> None:
    """Checkpoints of another recipe, number of steps or start must not be gone on from."""
    fixed = json.dumps([asdict(run.recipe) for run in runs.values()] + [start_sha256], sort_keys=True)
    fingerprint = hashlib.sha256(fixed.encode()).hexdigest()
    file = folder / "fingerprint.txt"
    if file.exists() and file.read_text().strip() != fingerprint:
        raise InputError(
            f"{folder} holds a run with another recipe, number of steps or start. Move that folder away to train "
            "anew, or name another one."
        )
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(fingerprint + "\n")


def _percent(value: float | None, dense: float | None) -> float | None:
    return None if value is None or dense is None else round(100 * value / dense, 1)


def _dtype(run: Run) -> str:
    precision = run.recipe.mixed_precision
    return {"no": "float32", "bf16": "bfloat16 autocast"}[precision]
