"""skipcore: Skip-Vision on stock transformers models.

vlm = load("assets/models/scenes")
with SkipVision(num_retained=100, num_skipped=156)(vlm.model) as session:
    vlm.model.generate(**inputs)
session.trace
"""

from skipcore.answer import AnswerToken, answer, ask
from skipcore.calibrate import calibrate
from skipcore.calibration import Calibration, load_calibration
from skipcore.chat import Chat
from skipcore.contribution import layer_contributions
from skipcore.decoding import Sampling
from skipcore.errors import InputError
from skipcore.loading import load
from skipcore.methods import METHODS, Dense, Method, SkipVision
from skipcore.plan import Role
from skipcore.saved_method import load_method, save_method
from skipcore.session import Session
from skipcore.summary import AdaptiveSummary
from skipcore.trace import Trace
from skipcore.vlm import Vlm

__all__ = [
    "METHODS",
    "AdaptiveSummary",
    "AnswerToken",
    "Calibration",
    "Chat",
    "Dense",
    "InputError",
    "Method",
    "Role",
    "Sampling",
    "Session",
    "SkipVision",
    "Trace",
    "Vlm",
    "answer",
    "ask",
    "calibrate",
    "layer_contributions",
    "load",
    "load_calibration",
    "load_method",
    "save_method",
]
