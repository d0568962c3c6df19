"""The progress of a run: a bar with pictures per second and the time left, and a log of means as JSON lines."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from skipcore.builtin.training.recipe import Stage
from skipcore.json_lines import JsonLines, Line
from skipcore.progress_bar import progress_bar

STEPS_BETWEEN_LOG_LINES = 20


class Progress:
    """Means over every 20 steps of a stage, appended to the log and shown; where there is no terminal, as lines."""

    def __init__(self, log: Path, stage: Stage, step: int, show: bool = True) -> None:
        self.log, self.stage, self.step, self.show = JsonLines(log), stage, step, show
        self.values: dict[str, list[float]] = defaultdict(list)
        self.began = time.monotonic()
        has_bar = show and sys.stderr.isatty()
        self.bar = progress_bar(stage.name, "step", stage.steps, step, is_shown=has_bar)

    def add(self, step: int, measured: dict[str, float]) -> None:
        """Take in what a step measured; `step` counts from 1."""
        self.step = step
        for name, value in measured.items():
            self.values[name].append(value)
        self.bar.update()
        if step % STEPS_BETWEEN_LOG_LINES == 0:
            self._flush()

    def close(self) -> None:
        """Write what has not been written."""
        self._flush()
        self.bar.close()

    def _flush(self) -> None:
        if not self.values or not self.show:
            self.values.clear()
            return
        seconds, steps = time.monotonic() - self.began, len(self.values["rate"])
        speed = sum(self.values.pop("pictures")) / seconds
        line: Line = {"stage": self.stage.name, "step": self.step, "steps": self.stage.steps}
        line |= {name: round(float(np.mean(values)), 5) for name, values in sorted(self.values.items())}
        line |= {"pictures_per_s": round(speed, 1), "seconds": round(seconds, 2)}
        self.log.add(line)
        if self.bar.disable:
            left = (self.stage.steps - self.step) * seconds / steps / 60
            shown = (f"{name} {value}" for name, value in line.items() if name not in ("stage", "step", "steps"))
            print(
                f"{self.stage.name}  {self.step}/{self.stage.steps}  {'  '.join(shown)}  {left:.0f} min left",
                flush=True,
            )
        else:
            self.bar.set_postfix_str(f"{speed:.0f} pictures/s")
        self.values.clear()
        self.began = time.monotonic()
