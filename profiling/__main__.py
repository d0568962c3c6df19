"""The command line: `python -m profiling compare --image … --question …`, `… bench`, `… race`, `… race-report`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from profiling.bench import long_prompts, three_models, training_step
from profiling.compare import compare
from profiling.output.exports import chrome_trace, csv_text, json_text
from profiling.output.html_report import html_report
from profiling.output.table import table_of
from profiling.race.command import add_commands
from skipcore import Dense, InputError, Method, SkipVision, Vlm, command_line, load
from skipcore.methods.retain import RETAIN_RULES

DEFAULT_MODEL = Path(__file__).resolve().parent.parent / "assets" / "models" / "scenes"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status (see `skipcore.command_line`; 2 for bad input)."""
    return command_line.run_subcommand(_parser(), arguments)


def _compare(options: argparse.Namespace) -> None:
    vlm = load(options.model, calibration=options.calibration, device=options.device)
    report = compare(
        vlm,
        options.image,
        options.question,
        [Dense(), _skip_method(options, vlm)],
        options.max_new_tokens,
        options.repeats,
        fixed_length=options.fixed_length,
    )
    for name, text_of in EXPORTS.items():
        if file := getattr(options, name):
            command_line.write_text(Path(file), text_of(report))
    print(json_text(report) if options.json else table_of(report))


EXPORTS = {"csv": csv_text, "html": html_report, "trace": chrome_trace}


def _skip_method(options: argparse.Namespace, vlm: Vlm) -> Method:
    """The model's own method, or Skip-Vision with what the command line changes."""
    changes = {
        "num_retained": options.retained,
        "num_skipped": options.skipped,
        "retain": options.retain,
        "text_attends_skipped": options.text_attends_skipped,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    if options.text_attends_skipped is False:
        changes["skip_kv"] = True  # keys and values that nobody reads
    if options.paper:
        if changes:
            raise InputError("--paper is a whole setting: leave out --retained, --skipped, --retain and the others.")
        return SkipVision.paper(options.paper)
    return replace(vlm.skip_vision, **changes) if changes else vlm.skipping


def _count(text: str) -> int | float:
    """A whole number, or a share such as 0.25."""
    try:
        return float(text) if "." in text else int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor a share such as 0.25") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m profiling", description="Measure skipping methods on a model.")
    commands = parser.add_subparsers(required=True, metavar="command")

    one = commands.add_parser("compare", help="ask one question dense and with Skip-Vision, and measure both")
    one.add_argument("--image", required=True, help="a picture file")
    one.add_argument("--question", required=True)
    one.add_argument("--model", default=str(DEFAULT_MODEL), help="model folder or Hub id (default: the built-in model)")
    one.add_argument("--calibration", help="what `python -m skipcore calibrate` wrote for the model")
    one.add_argument("--device", help='such as "cuda:1"; "auto" spreads a large model over GPUs, CPU and disk')
    one.add_argument("--retained", type=_count, help="retained tokens per picture: a number, or a share such as 0.2")
    one.add_argument("--skipped", type=_count, help="skipped tokens per picture: a number, or a share")
    one.add_argument("--retain", choices=RETAIN_RULES, help="which tokens are retained")
    one.add_argument("--text-attends-skipped", action=argparse.BooleanOptionalAction, default=None)
    one.add_argument("--paper", choices=["llava", "llava-hd", "cos"], help="the authors' setting instead")
    one.add_argument("--max-new-tokens", type=int, default=64)
    one.add_argument("--repeats", type=int, default=5, help="timed runs per arm (default 5)")
    one.add_argument("--fixed-length", action="store_true", help="always decode --max-new-tokens tokens")
    one.add_argument("--json", action="store_true", help="print the report as JSON")
    one.add_argument("--csv", metavar="FILE", help="also write the figures, a row an arm")
    one.add_argument("--html", metavar="FILE", help="also write a report with its pictures in one HTML file")
    one.add_argument("--trace", metavar="FILE", help="also write the timed runs as a trace for ui.perfetto.dev")
    one.set_defaults(run=_compare)

    three_models.add_command(commands)
    long_prompts.add_command(commands)
    training_step.add_command(commands)
    add_commands(commands, str(DEFAULT_MODEL))
    return parser


if __name__ == "__main__":
    sys.exit(main())
