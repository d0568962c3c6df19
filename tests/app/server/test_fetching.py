"""Fetching from a Hub that a test plays: progress, a stop that nobody waits for, and what cannot be had."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub.errors import RepositoryNotFoundError

from app.server import fetching
from app.server.fetching import RESERVE, Stopped, fetch, size
from skipcore import InputError

NAME = "some/model"
FILES = [SimpleNamespace(file_size=600, will_download=True), SimpleNamespace(file_size=5000, will_download=False)]
LONGEST = 30


class Hub:
    """Sends 600 bytes in steps, each when it is told to.

    Attributes:
        fails: raised instead of any answer; `is_here` says whether the files lie on this machine all the same.
    """

    def __init__(self, fails: Exception | None = None, is_here: bool = False) -> None:
        self.fails, self.is_here = fails, is_here
        self.sends, self.ended = threading.Semaphore(0), threading.Event()
        self.error: BaseException | None = None

    def snapshot_download(self, name: str, *, dry_run: bool = False, tqdm_class: Any = None, **wanted: Any) -> Any:
        assert name == NAME and wanted["ignore_patterns"]
        if wanted.get("local_files_only"):
            if self.is_here:
                return "/a/folder"
            raise FileNotFoundError(name)
        if self.fails is not None:
            raise self.fails
        if dry_run:
            return FILES
        bar = tqdm_class(unit="B", total=600)
        try:
            for _ in range(6):
                assert self.sends.acquire(timeout=LONGEST)
                bar.update(100)
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.ended.set()
        return "/a/folder"


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[[Hub], Hub]:
    def start(hub: Hub) -> Hub:
        monkeypatch.setattr(fetching, "snapshot_download", hub.snapshot_download)
        monkeypatch.setattr(fetching, "SECONDS_BETWEEN_LOOKS", 0.01)
        return hub

    return start


def test_progress_counts_the_bytes_that_were_missing(play) -> None:
    hub, seen = play(Hub()), []
    for arrived, missing in fetch(NAME, threading.Event()):
        seen.append(arrived)
        assert missing == 600
        hub.sends.release()
    assert seen == sorted(seen) and seen[0] == 0 and hub.ended.is_set() and hub.error is None


@pytest.mark.parametrize("way", ["closed", "stopped"])
def test_nobody_waits_for_a_transfer_that_is_given_up(play, way: str) -> None:
    hub, stop = play(Hub()), threading.Event()
    steps = fetch(NAME, stop)
    next(steps)
    if way == "closed":
        steps.close()  # a transfer that does not move: this returns all the same
    else:
        stop.set()
        assert list(steps) == []
    assert stop.is_set() and not hub.ended.is_set()
    hub.sends.release(6)
    assert hub.ended.wait(LONGEST) and isinstance(hub.error, Stopped)


def caused(error: Exception) -> Exception:
    """As the Hub's client wraps what went wrong on the way."""
    outer = OSError("Dry run cannot be performed")
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    "error, says",
    [
        (
            RepositoryNotFoundError("no", response=SimpleNamespace(headers={}, request=None)),
            "there is no such model on",
        ),
        (socket.gaierror(-2, "Name or service not known"), "the Hub cannot be reached"),
        (ConnectionRefusedError(), "the Hub cannot be reached"),
        (TimeoutError(), "the Hub cannot be reached"),
    ],
)
def test_what_the_hub_does_not_give_is_one_sentence(play, error: Exception, says: str) -> None:
    play(Hub(caused(error)))
    with pytest.raises(InputError, match=rf"cannot be loaded: .*{says}"):
        list(fetch(NAME, threading.Event()))


def test_files_that_are_here_need_no_hub(play) -> None:
    play(Hub(ConnectionError("no network"), is_here=True))
    assert list(fetch(NAME, threading.Event())) == []


def test_a_disk_that_is_too_full_is_one_sentence(play, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    play(Hub())
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: SimpleNamespace(free=RESERVE + 599))
    with pytest.raises(InputError, match=r"needs 0\.0 MB more on the disk"):
        list(fetch(NAME, threading.Event()))


def test_sizes_are_for_people() -> None:
    assert [size(count) for count in (513_400_000, 14_120_000_000)] == ["513.4 MB", "14.12 GB"]
