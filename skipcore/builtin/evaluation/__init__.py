"""How often a model answers rightly, dense and under any method, beside a guesser who does not look."""

from skipcore.builtin.evaluation.asked import DEFAULT_SPLITS, SPLIT_NAMES, AskedPicture, asked_pictures
from skipcore.builtin.evaluation.blind import BlindGuesser, blind_tally, guesser_for
from skipcore.builtin.evaluation.evaluate import measure_quality, methods_of, write_json
from skipcore.builtin.evaluation.finished import Finished
from skipcore.builtin.evaluation.many_answers import evaluate
from skipcore.builtin.evaluation.quality_record import Quality
from skipcore.builtin.evaluation.score_table import quality_table
from skipcore.builtin.evaluation.scores import Score, Tally

__all__ = [
    "DEFAULT_SPLITS",
    "SPLIT_NAMES",
    "AskedPicture",
    "BlindGuesser",
    "Finished",
    "Quality",
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
