"""The command line of the race: `python -m profiling race …` and `python -m profiling race-report …`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from profiling.race.processes import Process
from skipcore import METHODS, InputError, command_line, load

OUTPUT = "assets/results/race.jsonl"


def add_commands(commands: argparse._SubParsersAction, model: str) -> None:
    """Add both to a command line; `model` is the default one."""
    one = commands.add_parser(
        "race",
        aliases=["sweep"],
        help="the race: all methods at equal prefill FLOPs; goes on where it was killed",
        description="Measures every method at every budget: accuracy or agreement with the dense model, FLOPs, times, "
        "KV bytes, memory and the method's own scoring cost. What the output holds already is not measured again. "
        "`accelerate launch -m profiling race …` shares the questions among processes and machines; each writes a "
        "file of its own beside the output. On a CPU several processes measure no times: run it once more alone.",
    )
    one.add_argument("--model", default=model, help="model folder or Hub id (default: the built-in model)")
    one.add_argument("--calibration", help="what `python -m skipcore calibrate` wrote for the model")
    one.add_argument("--device", help='such as "cuda:1"; "auto" spreads a large model over GPUs, CPU and disk')
    one.add_argument(
        "--methods",
        nargs="+",
        default=["all"],
        metavar="METHOD",
        help=f"all, or some of {', '.join(METHODS)}; Skip-Vision and the baselines are always among them",
    )
    one.add_argument(
        "--budgets", nargs="+", type=float, default=[0.5, 0.25, 0.12], help="shares of the dense prefill FLOPs"
    )
    one.add_argument(
        "--data",
        nargs="+",
        default=["scenes-test", "easy-vqa-test"],
        help="scenes-test, scenes-combinations, scenes-style, scenes-validation, easy-vqa-test, or a folder of "
        'pictures with a questions.jsonl of lines such as {"picture": "cat.jpg", "question": "What is it?"}, which is '
        "held against the dense model's answers",
    )
    one.add_argument("--questions", type=int, default=200, help="to each data set (default 200)")
    one.add_argument("--cost-prompts", type=int, default=2, help="prompts of each data set that are timed (default 2)")
    one.add_argument("--repeats", type=int, default=5, help="timed runs of each method and prompt (default 5)")
    one.add_argument("--output", type=Path, default=Path(OUTPUT), help=f"default {OUTPUT}")
    one.set_defaults(run=run_race)

    report = commands.add_parser(
        "race-report",
        aliases=["sweep-report"],
        help="tables and Pareto picture of recorded races",
        description="Reads records of `race`, those of further processes beside them too, and writes .md, .svg and "
        ".json beside each; a line of JSON comes last.",
    )
    report.add_argument("records", nargs="*", type=Path, default=[Path(OUTPUT)], help=f"default {OUTPUT}")
    report.set_defaults(run=lambda options: write_reports(options.records))


def run_race(options: argparse.Namespace) -> int:
    """Measure, and report where this process is the only one."""
    try:
        from profiling.race.data import load_data
        from profiling.race.run import Race, measure_race
        from skipcore.builtin.scenes.world_file import read_world
    except ImportError as error:
        raise InputError(f"The race needs {error.name}: pip install -r requirements-dev.txt") from error
    if options.output.suffix != ".jsonl":
        raise InputError(f"Let the output's name end in .jsonl, not as {options.output.name!r}.")
    if options.questions < 1 or options.cost_prompts < 0:
        raise InputError("--questions must be at least 1 and --cost-prompts at least 0.")
    process = Process.here()
    vlm = load(options.model, calibration=options.calibration, device=options.device or _own_device(process))
    world = read_world(options.model) if Path(options.model).is_dir() else None
    methods = list(METHODS) if "all" in options.methods else options.methods
    data = [load_data(name, options.questions, world) for name in options.data]
    race = Race(methods, options.budgets, data, options.cost_prompts, options.repeats)
    measure_race(vlm, race, options.output, process)
    if process.count == 1:
        return write_reports([options.output])
    if process.is_main:
        print(f"When all {process.count} processes have ended: python -m profiling race-report {options.output}")
    return 0


def _own_device(process: Process) -> str | None:
    """A GPU for each process of a machine, where there are several."""
    if process.count == 1 or not torch.cuda.is_available():
        return None
    return f"cuda:{process.local_index % torch.cuda.device_count()}"


def write_reports(records: list[Path]) -> int:
    """Write the report of each record beside it, and print it."""
    try:
        from profiling.race.race_plot import write_race_plot
    except ImportError as error:
        raise InputError(f"The report needs {error.name}: pip install -r requirements-dev.txt") from error
    from profiling.race.race_tables import markdown, summary_line, with_sentences
    from profiling.race.results import read_race

    races = [with_sentences(read_race(file)) for file in records]
    for file, race in zip(records, races, strict=True):
        text = markdown(race)
        command_line.write_text(file.with_suffix(".md"), text)
        command_line.write_text(
            file.with_suffix(".json"), json.dumps(race.to_dict(), indent=1, ensure_ascii=False) + "\n"
        )
        write_race_plot(race, file.with_suffix(".svg"))
        print(text)
    for race in races:
        print(json.dumps(summary_line(race)))
    return 0
