"""Start, Cancel and a line of progress, for runs that do not belong to Ask."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import gradio as gr

from app.panels import QUIET, Changes
from app.panels.notice import status
from app.server.device import DEVICE


class RunControls:
    """Lays them out where it is made.

    Attributes:
        stop: the event that ends the visitor's run.

    Args:
        name: begins the `elem_id` of each.
        start: what the button says.
        sentence: the first line.
        stopped: the line after Cancel.
    """

    def __init__(self, name: str, start: str, sentence: str, stopped: str) -> None:
        self._stopped = stopped
        with gr.Row():
            self._start = gr.Button(start, elem_id=f"{name}-start")
            self._cancel = gr.Button("Cancel", interactive=False, elem_id=f"{name}-cancel")
        self._status = gr.HTML(status(sentence), elem_id=f"{name}-status")
        self.stop = gr.State(None)
        self.outputs = [self.stop, self._start, self._cancel, self._status]

    def wire(
        self,
        measure: Callable[..., Iterator[Changes]],
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        waiting: str = "In line for the device…",
        queue: Mapping[str, Any] = DEVICE,
    ) -> None:
        """Start lets `measure` wait in line and run, Cancel ends it.

        Args:
            outputs: what `measure` changes besides the controls.
            waiting: the line while it waits.
            queue: which line, as Gradio's events take it.
        """
        everything = [*self.outputs, *outputs]
        in_line = self._start.click(lambda: self.running(waiting), None, self.outputs, queue=False, **QUIET)
        ran = in_line.then(measure, list(inputs), everything, preprocess=False, **QUIET, **queue)
        ran.failure(lambda: self.idle(self._stopped), None, self.outputs, queue=False, **QUIET)
        self._cancel.click(self._end, self.stop, self.outputs, cancels=[ran], queue=False, **QUIET)

    def running(self, sentence: str, *, can_stop: bool = True) -> Changes:
        """Cancel instead of Start."""
        return {
            self._start: gr.update(interactive=False),
            self._cancel: gr.update(interactive=can_stop),
            self._status: status(sentence),
        }

    def idle(self, sentence: str, *, failed: bool = False) -> Changes:
        """Start instead of Cancel."""
        return {
            self._start: gr.update(interactive=True),
            self._cancel: gr.update(interactive=False),
            self._status: status(sentence, failed=failed),
        }

    def ended(self, stop: threading.Event) -> Changes:
        """After the last step of a run."""
        return self.idle(self._stopped if stop.is_set() else "Done.")

    def _end(self, stop: threading.Event | None) -> Changes:
        if stop is not None:
            stop.set()
        return self.idle(self._stopped)
