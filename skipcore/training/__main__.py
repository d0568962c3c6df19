"""Train and evaluate the built-in model: `python -m skipcore.training train`, `... evaluate`, `... examples`."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
import transformers

from skipcore import SkipVision, load, save_method
from skipcore.training import examples, finetune
from skipcore.training.evaluate import blind_accuracy, drawn_scenes, easy_vqa_test, evaluate, methods_of, table
from skipcore.training.model import save
from skipcore.training.recipes import RECIPES

MODEL_FOLDER = Path("assets/models/scenes")
EXAMPLES_FOLDER = Path("assets/examples")


def main() -> int:
    """Read the command line and do what it asks."""
    parser = argparse.ArgumentParser(prog="python -m skipcore.training", description=__doc__)
    commands = parser.add_subparsers(required=True)

    training = commands.add_parser("train", help="train the built-in model; goes on from its last checkpoint")
    training.add_argument("--recipe", choices=sorted(RECIPES), default="scenes-cpu")
    training.add_argument("--output", type=Path, default=MODEL_FOLDER, help="the model's folder")
    training.add_argument("--runs", type=Path, default=Path("runs"), help="where checkpoints and logs go")
    training.add_argument("--minutes", type=float, default=math.inf, help="stop after this long; run again to go on")
    training.set_defaults(run=train)

    evaluation = commands.add_parser("evaluate", help="accuracy on easy-VQA's test split and on drawn scenes")
    evaluation.add_argument("--model", type=Path, default=MODEL_FOLDER)
    evaluation.add_argument("--questions", type=_count, help="easy-VQA test questions, drawn at random; default: all")
    evaluation.add_argument("--scenes", type=_count, default=1000, help="questions to drawn scenes")
    evaluation.add_argument("--json", type=Path, help="also write the figures to this file")
    evaluation.set_defaults(run=measure)

    drawing = commands.add_parser("examples", help="draw the example pictures")
    drawing.add_argument("--output", type=Path, default=EXAMPLES_FOLDER)
    drawing.set_defaults(run=lambda arguments: examples.write(arguments.output))

    arguments = parser.parse_args()
    try:
        arguments.run(arguments)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def train(arguments: argparse.Namespace) -> None:
    """Run a recipe from its last checkpoint on; the model's folder is written at the start and after every stage."""
    stop_at = time.monotonic() + arguments.minutes * 60
    run = finetune.start(RECIPES[arguments.recipe])
    folder = arguments.runs / run.recipe.name
    if (folder / "checkpoint.pt").exists():
        finetune.load_checkpoint(run, folder / "checkpoint.pt")
        print(f"Going on from stage {run.stage + 1}, step {run.step}.")
    write(run, arguments.output)
    while not run.is_complete and time.monotonic() < stop_at:
        finetune.run_stage(run, folder, stop_at)
        write(run, arguments.output)
    minutes = [round(seconds / 60, 1) for seconds in run.seconds]
    print(f"{'Done' if run.is_complete else 'Stopped'}; minutes in each stage: {minutes}.")


def write(run: finetune.Run, folder: Path) -> None:
    """Write the model's folder: model, processor, and the method it was trained with."""
    save(run.model, run.processor, folder)
    save_method(SkipVision(num_retained=100, num_skipped=156, retain="saliency", summary=run.summary), folder)


def measure(arguments: argparse.Namespace) -> None:
    """Print the accuracies, dense and skipping, and the blind guesser's beside them."""
    vlm = load(arguments.model)
    methods = methods_of(vlm)
    test = easy_vqa_test(arguments.questions)
    print(f"easy-VQA, test split\n{'blind guess':24}{len(test):>10}{blind_accuracy(test):>10.1%}")
    scores = evaluate(vlm, test, methods)
    print(table(scores))
    scene_scores = evaluate(vlm, drawn_scenes(arguments.scenes), methods)
    print(f"drawn scenes\n{table(scene_scores)}")
    results = {
        "model": vlm.name,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "easy_vqa_test": {"blind_guess": blind_accuracy(test), "arms": [asdict(score) for score in scores]},
        "drawn_scenes": {"arms": [asdict(score) for score in scene_scores]},
    }
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
