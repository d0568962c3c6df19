"""What a ZeroGPU Space has for `spaces`, without its GPU: the heavy function runs in a forked process, and what goes in
and comes out is pickled on its way."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Generator
from functools import wraps
from multiprocessing.connection import Connection
from typing import Any

if os.environ.get("SPACES_ZERO_GPU") and "torch" in sys.modules:
    raise RuntimeError("On a Space, spaces must be imported before torch.")
WORKS = "A forked worker runs."


def GPU(*, duration: Callable[..., float]) -> Callable[..., Any]:
    def decorate(task: Callable[..., Generator[Any]]) -> Callable[..., Generator[Any]]:
        @wraps(task)
        def here(*arguments: Any) -> Generator[Any]:
            assert duration(*arguments) > 0
            context = multiprocessing.get_context("fork")
            ours, theirs = context.Pipe()
            worker = context.Process(target=work, args=(task, theirs), daemon=True)
            worker.start()
            theirs.close()
            try:
                ours.send(arguments)
                while (result := ours.recv()) is not None:
                    if isinstance(result, str):
                        import gradio as gr

                        raise gr.Error(result)
                    yield result
            finally:
                worker.terminate()
                worker.join()

        return here

    return decorate


def work(task: Callable[..., Generator[Any]], pipe: Connection) -> None:
    import torch

    print(WORKS, flush=True)
    torch.set_num_threads(1)  # OpenMP's threads do not outlive a fork
    try:
        for result in task(*pipe.recv()):
            pipe.send(result)
        pipe.send(None)
    except Exception as error:
        pipe.send(type(error).__name__)  # as ZeroGPU does: no message, no trace
