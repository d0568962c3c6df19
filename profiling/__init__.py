"""profiling: skipcore at work, measured.

from profiling import compare
report = compare(load("assets/models/scenes"), "picture.png", "What is this?")
"""

from profiling.compare import compare, stream
from profiling.report import Arm, Report, Savings, Spread

__all__ = ["Arm", "Report", "Savings", "Spread", "compare", "stream"]
