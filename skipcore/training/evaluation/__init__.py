"""How often a model answers rightly, dense and under any method, beside a guesser who does not look."""

from skipcore.training.evaluation.answering import evaluate
from skipcore.training.evaluation.asked import DEFAULT_SPLITS, SPLIT_NAMES, AskedPicture, asked_pictures
from skipcore.training.evaluation.blind import BlindGuesser, blind_tally, guesser_for
from skipcore.training.evaluation.finished import Finished
from skipcore.training.evaluation.quality import measure_quality, methods_of, write_json
from skipcore.training.evaluation.scores import Score, Tally
from skipcore.training.evaluation.table import quality_table

__all__ = [
    "DEFAULT_SPLITS",
    "SPLIT_NAMES",
    "AskedPicture",
    "BlindGuesser",
    "Finished",
    "Score",
    "Tally",
    "asked_pictures",
    "blind_tally",
    "evaluate",
    "guesser_for",
    "measure_quality",
    "methods_of",
    "quality_table",
    "write_json",
]
