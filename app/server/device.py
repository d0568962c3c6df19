"""The device's thread: everything that runs the model does so there, one job after the other.

The order of the jobs is the only lock, so nobody can hold one without using the device, or use the device without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

from app.server.spare_memory import hand_back_spare_memory

# All runs on the device stand in one queue: sessions act on the whole process, and times need a quiet device.
DEVICE = {"concurrency_id": "device", "concurrency_limit": 1}

_jobs: SimpleQueue[Callable[[], object]] = SimpleQueue()
_start = threading.Lock()
_thread: threading.Thread | None = None


def do_on_device(job: Callable[[], object]) -> None:
    """Have the device's thread do it, after the jobs before it.

    OpenMP keeps a team of workers for every thread that calls it. More workers than cores sleep between two operators
    instead of waiting awake, and a decode step takes several times as long: so all of a process calls from one thread.

    Args:
        job: raises nothing.
    """
    global _thread
    with _start:
        if _thread is None:
            _thread = threading.Thread(target=_work, name="device", daemon=True)
            _thread.start()
    _jobs.put(job)


@contextmanager
def device_held() -> Iterator[None]:
    """Inside, nothing runs on the device: its thread waits until this ends. Not for the server's event loop."""
    begun, over = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        over.wait()

    do_on_device(hold)
    try:
        begun.wait()
        yield
    finally:
        over.set()


def _work() -> None:
    while True:
        _jobs.get()()
        hand_back_spare_memory()
