"""A generator that runs ahead of who reads it."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator

import pytest
from held_runs import LONGEST

from app.server import pace
from app.server.device import device_held
from app.server.pace import added_up, ahead, at_most_every
from skipcore import InputError


class Numbers:
    """Counts up to an end, noting how far it came and that it was closed."""

    def __init__(self, end: int = 5, fails: bool = False, waits: float = 0) -> None:
        self.made, self.closed, self.end, self.fails, self.waits = 0, False, end, fails, waits

    def run(self) -> Generator[int, None, None]:
        try:
            while self.made < self.end:
                self.made += 1
                yield self.made
                time.sleep(self.waits)
            if self.fails:
                raise ValueError("five is enough")
        finally:
            self.closed = True


def test_all_items_come_in_order_and_nothing_is_stopped() -> None:
    numbers, stop = Numbers(), threading.Event()
    assert list(ahead(numbers.run(), stop)) == [1, 2, 3, 4, 5]
    assert numbers.closed and not stop.is_set()


def test_it_does_not_wait_for_its_reader() -> None:
    numbers = Numbers()
    items = ahead(numbers.run(), threading.Event())
    assert next(items) == 1
    for _ in range(200):
        if numbers.closed:
            break
        time.sleep(0.01)
    assert numbers.made == 5 and numbers.closed
    assert list(items) == [2, 3, 4, 5]


def test_an_error_comes_after_the_items_before_it() -> None:
    seen = []
    with pytest.raises(ValueError, match="five is enough"):
        for item in ahead(Numbers(fails=True).run(), threading.Event()):
            seen.append(item)
    assert seen == [1, 2, 3, 4, 5]


def test_closing_returns_at_once_and_the_next_job_comes_after_what_still_runs() -> None:
    go_on, stop, order = threading.Event(), threading.Event(), list[str]()

    def run() -> Generator[int, None, None]:
        try:
            yield 1
            go_on.wait(LONGEST)
            order.append("the step ends")
            yield 2
            order.append("another step")
        finally:
            order.append("the run ends")

    def next_job() -> Generator[int, None, None]:
        order.append("the next job")
        yield 3

    items = ahead(run(), stop)
    next(items)
    items.close()
    order.append("closed")
    assert stop.is_set()
    go_on.set()
    assert list(ahead(next_job(), threading.Event())) == [3]
    assert order == ["closed", "the step ends", "the run ends", "the next job"]


@pytest.mark.parametrize("begins", [True, False])
def test_who_is_stopped_in_a_long_step_or_before_their_turn_need_not_wait(begins: bool) -> None:
    go_on, stop, did = threading.Event(), threading.Event(), list[int]()

    def long_step() -> Generator[int, None, None]:
        yield 1
        go_on.wait(LONGEST)

    def waits() -> Generator[int, None, None]:
        did.append(1)
        yield 1

    runs = ahead(long_step(), threading.Event() if not begins else stop)
    next(runs)
    stop.set()
    assert list(runs if begins else ahead(waits(), stop)) == []
    go_on.set()
    assert list(ahead(Numbers(1).run(), threading.Event())) == [1]
    assert not did


def test_a_reader_that_stalls_loses_the_device_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "SECONDS_TO_SHOW", 0.05)
    numbers = Numbers(10**9)
    stalled = ahead(numbers.run(), threading.Event(), tokens=str)
    assert next(stalled) == 1
    assert list(ahead(Numbers(3).run(), threading.Event())) == [1, 2, 3]
    assert numbers.closed and numbers.made == 1
    with pytest.raises(InputError, match="Nobody followed this run"):
        next(stalled)


def test_nothing_runs_while_the_device_is_held() -> None:
    order: list[str] = []

    def job() -> Generator[int, None, None]:
        order.append("job")
        yield 1

    reader = threading.Thread(target=lambda: list(ahead(job(), threading.Event())))
    with device_held():
        reader.start()
        reader.join(0.3)
        order.append("held")
    reader.join(LONGEST)
    assert order == ["held", "job"]


def test_all_that_runs_does_so_on_one_thread_after_what_was_there_before() -> None:
    def where() -> Generator[int, None, None]:
        yield threading.get_ident()
        time.sleep(0.01)
        yield threading.get_ident()

    runs = [ahead(where(), threading.Event()) for _ in range(3)]
    readers = [threading.Thread(target=lambda run=run: threads.extend(run)) for run in runs]
    threads: list[int] = []
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(threads) == 6 and len(set(threads)) == 1
    assert threads[0] not in (threading.get_ident(), *(reader.ident for reader in readers))


def test_what_is_closed_before_its_turn_ends_at_once_then() -> None:
    numbers, stop = Numbers(10**9, waits=0.001), threading.Event()
    first, waits = ahead(numbers.run(), stop), ahead(Numbers(10**9).run(), stopped := threading.Event())
    next(first)
    reader = threading.Thread(target=lambda: next(waits, None))
    reader.start()
    stopped.set()
    reader.join(LONGEST)
    assert not reader.is_alive() and not numbers.closed
    first.close()
    assert list(ahead(Numbers(1).run(), threading.Event())) == [1]
    assert numbers.closed


ITEMS = [0, "a", "b", "c", 1, "d", 2, "e", "f"]


@pytest.mark.parametrize(
    "seconds, expected",
    [
        (60, [0, "a", "bc", 1, "d", 2, "e", "f"]),
        (0, ITEMS),
    ],
)
def test_tokens_are_added_up(seconds: float, expected: list[int | str]) -> None:
    assert list(added_up(ITEMS, str, seconds)) == expected


def test_all_but_tokens_are_waited_for_until_they_were_shown() -> None:
    begun = []

    def run() -> Generator[int | str, None, None]:
        for item in ITEMS:
            begun.append(item)
            yield item

    items = ahead(run(), threading.Event(), tokens=str)
    assert next(items) == 0
    time.sleep(0.02)
    assert begun == [0]
    assert next(items) == "a" and next(items) == "bc" and next(items) == 1
    time.sleep(0.02)
    assert begun == [0, "a", "b", "c", 1]
    assert list(items) == ["d", 2, "e", "f"]


def test_what_waits_to_be_shown_ends_when_it_is_closed() -> None:
    numbers, stop = Numbers(10**9), threading.Event()
    items = ahead(numbers.run(), stop, tokens=str)
    assert next(items) == 1
    items.close()
    assert list(ahead(Numbers(1).run(), threading.Event())) == [1]
    assert stop.is_set() and numbers.closed and numbers.made == 1


def test_items_that_follow_too_soon_are_left_out() -> None:
    assert list(at_most_every(60, iter(range(1000)))) == [0]
    assert list(at_most_every(0.0, iter(range(3)))) == [0, 1, 2]


def test_a_generator_that_is_stopped_before_its_turn_does_nothing() -> None:
    stop, did = threading.Event(), []

    def work() -> Generator[int, None, None]:
        did.append(1)
        yield 1

    stop.set()
    assert list(ahead(work(), stop)) == [] and not did
