"""The finished example of a first visit: one measured question, recorded by `python -m app.runs.recorded`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from app import ASSETS
from app.examples import load_examples, offered
from app.world import world_of
from profiling import Report, compare
from profiling.output.record import read_record, write_record
from skipcore import InputError, Vlm, load
from skipcore.provenance import folder_sha256

RECORDED = ASSETS / "results" / "first-visit.json.gz"
MAX_NEW_TOKENS = 96
REPEATS = 20


@dataclass(frozen=True, eq=False)
class Recorded:
    """A report of the first example, with the model it belongs to.

    Attributes:
        model_sha256: of the model's weights.
    """

    model_sha256: str
    report: Report


def recorded_for(vlm: Vlm, file: Path = RECORDED) -> Report | None:
    """The recorded report; None where there is none of this very model.

    Raises:
        InputError: the file is there but cannot be read.
    """
    if not file.is_file():
        return None
    recorded = read_record(Recorded, file)
    return recorded.report if recorded.model_sha256 == folder_sha256(vlm.model.name_or_path) else None


def record(vlm: Vlm, file: Path = RECORDED) -> Report:
    """Ask the first example's question, dense and with the model's own skipping, and write what was measured.

    Raises:
        InputError: the model has no weights in a folder, or no example lies inside its world.
    """
    sha256 = folder_sha256(vlm.model.name_or_path)
    examples = offered(load_examples(), world_of(vlm))
    if sha256 is None or not examples:
        raise InputError("Give a model's folder with a model.safetensors, and an example inside its world.")
    report = compare(vlm, examples[0].image, examples[0].question, max_new_tokens=MAX_NEW_TOKENS, repeats=REPEATS)
    write_record(Recorded(sha256, report), file)
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m app.runs.recorded", description="Record the page's first example.")
    parser.add_argument("--model", default=str(RECORDED.parents[1] / "models" / "scenes"), help="model folder")
    parser.add_argument("--output", type=Path, default=RECORDED, help=f"default: assets/results/{RECORDED.name}")
    options = parser.parse_args()
    record(load(options.model), options.output)
