"""skipcore: Skip-Vision on stock transformers models.

vlm = load("assets/models/scenes")
with SkipVision(num_retained=100, num_skipped=156)(vlm.model) as session:
    vlm.model.generate(**inputs)
session.trace
"""

from skipcore.answering.chat import Chat
from skipcore.answering.decoding import Sampling
from skipcore.answering.generate import AnswerToken, answer, ask
from skipcore.calibration.calibrate import calibrate
from skipcore.calibration.choice import Calibration, load_calibration
from skipcore.calibration.contribution import layer_contributions
from skipcore.engine.session import Session
from skipcore.errors import InputError
from skipcore.methods import METHODS, Dense, Method, SkipVision
from skipcore.model.load import load
from skipcore.model.saved_method import load_method, save_method
from skipcore.model.vlm import Vlm
from skipcore.plan.summary import AdaptiveSummary
from skipcore.plan.token_plan import Role
from skipcore.trace import Trace

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
