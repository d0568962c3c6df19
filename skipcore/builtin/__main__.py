"""Train, evaluate and compare the built-in model.

`python -m skipcore.builtin train`, `... evaluate`, `... claim`, `... plot`, `... examples`; each has `--help`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from skipcore import command_line, load
from skipcore.builtin.claim.measure import measure_claim
from skipcore.builtin.evaluation.asked import DEFAULT_SPLITS, SPLIT_NAMES
from skipcore.builtin.evaluation.evaluate import DEFAULT_COUNTS, measure_quality, methods_of, write_json
from skipcore.builtin.evaluation.finished import Finished
from skipcore.builtin.evaluation.quality_record import Quality
from skipcore.builtin.evaluation.score_table import quality_table
from skipcore.builtin.scenes.world_file import read_world
from skipcore.builtin.training import recipe, runs
from skipcore.builtin.training import training_loop as finetune
from skipcore.builtin.training.model_folder import write_model
from skipcore.builtin.training.start import start_from
from skipcore.methods.retain import RETAIN_RULES

MODEL_FOLDER = Path("assets/models/scenes")
EXAMPLES_FOLDER = Path("assets/examples")
RUNS_FOLDER = Path("runs")
BEFORE_SKIPPING = RUNS_FOLDER / "scenes-cpu" / "stage-6"
"""What `train` leaves there has answered questions, but never skipped."""
MOST_WORKERS = 16


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status (see `skipcore.command_line`; 2 for bad input)."""
    return command_line.run_subcommand(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m skipcore.builtin",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    recipes = f"one of {', '.join(recipe.names())}, or the path of a .toml file"
    # without a GPU they would take the cores that train: 20 pictures a second against 15 on two cores
    workers = min(MOST_WORKERS, max(1, (os.cpu_count() or 2) - 1)) if torch.cuda.is_available() else 0

    training = commands.add_parser("train", help="train the built-in model; goes on from its last checkpoint")
    training.add_argument("--recipe", default="scenes-cpu", help=recipes)
    training.add_argument("--output", type=Path, default=MODEL_FOLDER, help="the model's folder")
    training.add_argument("--runs", type=Path, default=RUNS_FOLDER, help="where checkpoints and logs go")
    training.add_argument(
        "--minutes", type=_positive, default=math.inf, help="stop after this long; run again to go on"
    )
    training.add_argument("--workers", type=_at_least(0), default=workers, help="processes that draw pictures")
    training.add_argument("--start", type=Path, metavar="MODEL", help="begin with the weights of this model folder")
    training.set_defaults(run=train)

    evaluation = commands.add_parser("evaluate", help="accuracy on test splits; goes on where it was killed")
    evaluation.add_argument("--model", type=Path, default=MODEL_FOLDER, help="the model's folder")
    evaluation.add_argument("--splits", nargs="+", choices=SPLIT_NAMES, default=DEFAULT_SPLITS, metavar="SPLIT")
    evaluation.add_argument("--questions", type=_at_least(1), help="to each split; default: 2,000, and all of easy-VQA")
    evaluation.add_argument("--counts", nargs="*", type=_counts, default=DEFAULT_COUNTS, metavar="RETAINED+SKIPPED")
    evaluation.add_argument("--retain", nargs="+", choices=tuple(RETAIN_RULES), default=(), help="default: the model's")
    evaluation.add_argument(
        "--settings", nargs="+", type=_settings, default=(), metavar="JSON",
        help='more methods, such as \'{"num_retained": 50, "num_skipped": 50, "text_attends_skipped": true}\'',
    )  # fmt: skip
    evaluation.add_argument(
        "--everything", action="store_true", help="ask also of things in scenes that the model was never trained on"
    )
    evaluation.add_argument("--output", type=Path, help="default: quality.json in the model's folder")
    evaluation.set_defaults(run=evaluate)

    claim = commands.add_parser("claim", help="train dense, skipping and mixed from one start, and compare them")
    claim.add_argument("--recipe", default="claim-cpu", help=recipes)
    claim.add_argument(
        "--start", type=Path, default=BEFORE_SKIPPING, metavar="MODEL", help="gives all arms their first weights"
    )
    claim.add_argument("--steps", type=_at_least(1), help="of each arm; default: the recipe's")
    claim.add_argument("--split", choices=SPLIT_NAMES, default="test", help="what the arms are asked")
    claim.add_argument("--questions", type=_at_least(1), default=400, help="to each arm under each method")
    claim.add_argument("--output", type=Path, help="default: assets/results/RECIPE.json")
    claim.add_argument("--runs", type=Path, default=RUNS_FOLDER, help="where checkpoints and logs go")
    claim.add_argument("--workers", type=_at_least(0), default=workers, help="processes that draw pictures")
    claim.set_defaults(run=compare)

    plot = commands.add_parser("plot", help="draw the curves of a training log, or the record of a claim")
    plot.add_argument("log", type=Path, help="log.jsonl of a run, or the .json that claim wrote")
    plot.add_argument("output", type=Path, help="the picture's file")
    plot.set_defaults(run=draw_plot)

    drawing = commands.add_parser("examples", help="draw the example pictures")
    drawing.add_argument("--output", type=Path, default=EXAMPLES_FOLDER)
    drawing.set_defaults(run=draw_examples)
    return parser


def train(arguments: argparse.Namespace) -> None:
    """Run a recipe from its last checkpoint on; the model's folder is written after every stage and stop.

    The model after each stage also stays beside the checkpoint, as a start for other runs.
    """
    stop_at = time.monotonic() + arguments.minutes * 60
    run = runs.start(recipe.load_recipe(arguments.recipe), arguments.workers)
    is_main = run.accelerator.is_main_process
    folder = arguments.runs / run.recipe.name
    if arguments.start is not None:
        start_from(run, arguments.start)
    if (folder / "checkpoint.pt").exists():
        runs.load_checkpoint(run, folder / "checkpoint.pt")
        if is_main:
            print(f"Going on from stage {run.stage + 1}, step {run.step}.")
    if run.is_complete:
        write_model(run, arguments.output)
    while not run.is_complete and not finetune.is_time_up(run, stop_at):
        finetune.run_stage(run, folder, stop_at)
        write_model(run, arguments.output)
        if run.step == 0:
            write_model(run, folder / f"stage-{run.stage}")
    minutes = [round(seconds / 60, 1) for seconds in run.seconds]
    if is_main:
        print(f"{'Done' if run.is_complete else 'Stopped'}; minutes in each stage: {minutes}.")


def evaluate(arguments: argparse.Namespace) -> None:
    """Measure a model's quality; the JSON grows split by split, and tables are printed."""
    vlm = load(arguments.model)
    output = arguments.output or arguments.model / "quality.json"
    methods = methods_of(vlm.method, arguments.counts, arguments.retain, arguments.settings)

    def show(result: Quality) -> None:
        write_json(result.to_dict(), output)
        name, split = list(result.splits.items())[-1]
        print(quality_table(name, split), flush=True)

    measure_quality(
        vlm,
        methods,
        list(dict.fromkeys(arguments.splits)),
        arguments.questions,
        Finished(output.with_suffix(".answers.jsonl")),
        show,
        None if arguments.everything else read_world(arguments.model),
    )


def compare(arguments: argparse.Namespace) -> None:
    """Train the arms of the claim by turns, evaluate them, and write JSON, table and loss curves."""
    loaded = recipe.load_recipe(arguments.recipe)
    output = arguments.output or Path("assets/results") / f"{loaded.name}.json"
    print(
        measure_claim(
            loaded,
            arguments.start,
            output,
            arguments.runs / loaded.name,
            steps=arguments.steps,
            split=arguments.split,
            num_questions=arguments.questions,
            workers=arguments.workers,
        )
    )


def draw_plot(arguments: argparse.Namespace) -> None:
    """Draw a log's curves."""
    # only this command needs what draws charts
    from skipcore.builtin.claim.claim_plot import write_claim_plot
    from skipcore.builtin.training.training_plot import write_plot

    draw = write_claim_plot if arguments.log.suffix == ".json" else write_plot
    draw(arguments.log, arguments.output)


def draw_examples(arguments: argparse.Namespace) -> None:
    """Draw the page's examples."""
    from skipcore.builtin.scenes import numbered as examples

    examples.write(arguments.output)


def _at_least(least: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        if (number := int(text)) < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}")
        return number

    return whole_number


def _positive(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return number


def _counts(text: str) -> tuple[int, int]:
    kept, plus, skipped = text.partition("+")
    if not (plus and kept.isdecimal() and skipped.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be two counts such as 100+156, not {text!r}")
    return int(kept), int(skipped)


def _settings(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"must be JSON, but {error}") from error
    if not isinstance(values, dict):
        raise argparse.ArgumentTypeError(f"must be a JSON object of settings, not {text}")
    return values


if __name__ == "__main__":
    sys.exit(main())
