"""ZeroGPU: a Space that has a GPU only while a run lasts, in a forked worker. Elsewhere runs are done right here.

The worker has the model by the fork; all else is pickled on its way in and out. So plain settings go in, not methods,
whose summaries lie on the GPU; and events come back as bytes, since tensors that processes exchange otherwise lie in
shared memory that ends with the worker. Warm-up, device name and figures are all of the worker: see `profiling.stream`.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

import gradio as gr
import torch

from app.settings import Settings
from profiling import Report, stream
from profiling.events import Event
from skipcore import Dense, InputError, Vlm
from skipcore.model.inputs import ImageLike

LONGEST_S = 120.0
"""As much as a visitor who is not signed in has in a day."""
START_S, READING_S, TOKEN_S = 10.0, 0.5, 0.03
"""What a worker's start, reading a picture with its question, and one token of an answer may take: guesses on the safe
side, since ZeroGPU breaks off what takes longer than was said."""
REFUSED = (
    "The shared GPU refused this run or broke it off: sign in to Hugging Face for a larger quota, or ask for fewer "
    "timed runs or a shorter answer."
)

Task = Callable[..., Generator[Any]]
"""A generator function of a module, which takes the model, then its own arguments, last the event that stops it."""
_workers: dict[int, Callable[..., Generator[bytes]]] = {}


def lend(vlm: Vlm, gpu: Callable[..., Any]) -> None:
    """From now on, run this model in ZeroGPU's worker. Call it before its page is built.

    Args:
        gpu: the decorator `spaces.GPU`.
    """

    @gpu(duration=lambda seconds, *_: min(seconds, LONGEST_S))
    def run_in_worker(_seconds: float, task: Task, *arguments: Any) -> Generator[bytes]:
        try:
            with closing(task(vlm, *arguments, threading.Event())) as events:
                yield from map(pickle.dumps, events)
        except InputError as error:  # of any other exception only the name would come back
            yield pickle.dumps(error)
        except (MemoryError, torch.OutOfMemoryError):
            yield pickle.dumps(MemoryError())

    _workers[id(vlm)] = run_in_worker


def is_lent(vlm: Vlm) -> bool:
    """Whether a model runs in ZeroGPU's worker: here is no device for it, and nothing stays there between two runs."""
    return id(vlm) in _workers


def on_device(task: Task, vlm: Vlm, *arguments: Any, seconds: float, stop: threading.Event) -> Generator[Any]:
    """Run a task where the device is: in the worker for a model that was lent, or right here.

    Args:
        arguments: of the task, between the model and `stop`; they are pickled for a worker, as is what it yields.
        seconds: how long it may take in a worker.

    Raises:
        InputError: raised by the task; or ZeroGPU gives no GPU, or not for so long.
        MemoryError: the worker's GPU has too little memory.
    """
    worker = _workers.get(id(vlm))
    if worker is None:
        return task(vlm, *arguments, stop)
    return _events_of(worker(seconds, task, *arguments), stop)


def stream_on_device(
    vlm: Vlm, picture: ImageLike, question: str, settings: Settings, stop: threading.Event
) -> Generator[Event | Report]:
    """`profiling.stream` of dense and one method, where the device is; see `on_device`."""
    return on_device(_comparison, vlm, picture, question, settings, seconds=estimated_seconds(settings), stop=stop)


def estimated_seconds(settings: Settings) -> float:
    """How long to ask the GPU for: both arms' timed runs, and two more readings of each, for trace and agreement."""
    readings = settings.repeats + 2
    of_an_arm = readings * READING_S + settings.repeats * settings.max_new_tokens * TOKEN_S
    return START_S + 2 * of_an_arm


def _comparison(
    vlm: Vlm, picture: ImageLike, question: str, settings: Settings, stop: threading.Event
) -> Generator[Event | Report]:
    yield from stream(
        vlm,
        picture,
        question,
        [Dense(), settings.compared(vlm)],
        settings.max_new_tokens,
        settings.repeats,
        fixed_length=settings.fixed_length,
        stop=stop,
    )


def _events_of(pickled: Generator[bytes], stop: threading.Event) -> Generator[Any]:
    """A thread's event does not reach another process: leaving the generator ends the run there."""
    try:
        with closing(pickled):
            for each in pickled:
                if stop.is_set():
                    return
                event = pickle.loads(each)
                if isinstance(event, InputError | MemoryError):
                    raise event
                yield event
    except gr.Error as error:
        raise InputError(REFUSED) from error
