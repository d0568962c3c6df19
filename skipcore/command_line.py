"""How every command line ends: bad input, a lack of memory and Ctrl-C with a sentence, a closed pipe without a word."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

from huggingface_hub.utils import disable_progress_bars
from transformers.utils import logging

from skipcore.errors import InputError, OutOfMemory, is_out_of_memory

BAD_INPUT, OUT_OF_MEMORY, INTERRUPTED, CLOSED_PIPE = 2, 3, 130, 141
"""Exit statuses; the last two are those of a program that SIGINT and SIGPIPE end."""
MEMORY_ADVICE = (
    "There is too little memory: take a smaller model, a smaller picture or fewer tokens, or end other programs that "
    "hold memory of the device."
)


def run(command: Callable[[], int | None]) -> int:
    """Run a command and return its exit status. Progress bars show only where somebody looks at stderr.

    Args:
        command: returns the status; None is 0. argparse's own exits pass through.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        logging.disable_progress_bar()
        disable_progress_bars()
    try:
        try:
            return command() or 0
        except InputError as error:
            return _say(error, BAD_INPUT)
        except KeyboardInterrupt:
            return _say("stopped by Ctrl-C", INTERRUPTED)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return _say(error if isinstance(error, OutOfMemory) else MEMORY_ADVICE, OUT_OF_MEMORY)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, where a closed pipe can still be caught
    except BrokenPipeError:
        _forget_output()
        return CLOSED_PIPE


def run_subcommand(parser: ArgumentParser, arguments: list[str] | None) -> int:
    """Run the function that the sub-command of some arguments has as its default `run`; see `run`."""

    def command() -> int | None:
        options = parser.parse_args(arguments)
        return options.run(options)

    return run(command)


def check_folder(file: Path | None) -> None:
    """Raise InputError before anything runs where the folder of a file to write does not exist."""
    if file is not None and not file.parent.is_dir():
        raise InputError(f"There is no folder {str(file.parent)!r} to write to.")


def write_text(file: Path, text: str) -> None:
    """Write a file, or say in a sentence that it cannot be written."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        advice = "choose a file in a folder that exists, on a disk with space left"
        raise InputError(f"{str(file)!r} cannot be written ({error.strerror}): {advice}.") from error


def _say(error: object, status: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return status


def _forget_output() -> None:
    """What is still unwritten goes nowhere, so that Python does not try once more when it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())
