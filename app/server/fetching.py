"""Fetch a model from the Hub into its cache, and tell how far it is. Weights in safetensors only, no code."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from huggingface_hub import constants, snapshot_download
from tqdm.auto import tqdm

from skipcore import InputError
from skipcore.model.load import why_not_loaded

# Other formats lie in folders; consolidated weights are Mistral's own.
FILES: dict[str, Any] = {
    "allow_patterns": ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"],
    "ignore_patterns": ["*/*", "consolidated*"],
}
SECONDS_BETWEEN_LOOKS = 0.5
RESERVE = 10**9
"""Bytes of the disk that stay free, for uploads and the rest of the machine."""

log = logging.getLogger(__name__)


class Stopped(Exception):
    """Nobody waits for the files any more."""


def fetch(name: str, stop: threading.Event) -> Generator[tuple[int, int], None, None]:
    """Fetch what is missing; yields (bytes that have arrived, bytes that were missing) twice a second, nothing where
    all files are here. What has arrived when it is stopped stays, and a later call goes on from there.

    Args:
        name: id on the Hub.
        stop: ends it soon; set here when this is closed.

    Raises:
        InputError: the disk is too full, or the Hub does not give what is missing.
    """
    count = ByteCount(stop)
    try:
        files = snapshot_download(name, dry_run=True, tqdm_class=count.bar(), **FILES)
        missing = sum(file.file_size for file in files if file.will_download)
        _check_disk(name, missing)
        if missing:
            for arrived in _arriving(name, count, stop):
                yield min(arrived, missing), missing
    except Stopped:
        return
    except InputError:
        raise
    except Exception as error:
        if not _is_here(name):
            raise InputError(why_not_loaded(name, None, error)) from error
        log.warning("The Hub does not tell whether the files of %s are the newest: %s", name, error)


def folder_of(name: str) -> Path:
    """Where the files lie that `fetch` has fetched."""
    return Path(snapshot_download(name, local_files_only=True, **FILES))


def _is_here(name: str) -> bool:
    try:
        folder_of(name)
    except Exception:
        return False
    return True


def _arriving(name: str, count: ByteCount, stop: threading.Event) -> Generator[int, None, None]:
    pool = ThreadPoolExecutor(1, "fetch")
    fetched = pool.submit(lambda: snapshot_download(name, tqdm_class=count.bar(), **FILES))
    try:
        while not fetched.done() and not stop.is_set():
            yield count.bytes
            stop.wait(SECONDS_BETWEEN_LOOKS)
        if not stop.is_set():
            fetched.result()
    except GeneratorExit:
        stop.set()
        raise
    finally:
        pool.shutdown(wait=False)  # a visitor who leaves is closed on the server's event loop, which must not wait


class ByteCount:
    """Counts the bytes that arrive.

    Args:
        stop: what arrives after it was set ends the transfer.
    """

    def __init__(self, stop: threading.Event) -> None:
        self.bytes = 0
        self._stop = stop

    def bar(self) -> type[tqdm]:
        """A progress bar that `snapshot_download` takes, and that draws nothing."""
        count = self

        class Bar(tqdm):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                self._of_bytes = options.get("unit") == "B"  # one of them counts files
                super().__init__(*arguments, **options | {"disable": True})

            def update(self, n: float | None = 1) -> None:
                if count._stop.is_set():
                    raise Stopped
                self.n += n or 0
                if self._of_bytes:
                    count.bytes = max(count.bytes, int(self.n))

        return Bar


def _check_disk(name: str, missing: int) -> None:
    folder = Path(constants.HF_HUB_CACHE)
    while not folder.exists():
        folder = folder.parent
    if missing > (free := max(0, shutil.disk_usage(folder).free - RESERVE)):
        raise InputError(
            f"{name} needs {size(missing)} more on the disk, where {size(free)} can be had: choose a smaller model."
        )


def size(count: int) -> str:
    """Bytes for people: "513 MB"."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
