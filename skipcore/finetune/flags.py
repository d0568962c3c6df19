"""`python -m skipcore finetune …`: its flags, and the settings that they make."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from skipcore.finetune.run_settings import Settings, read_values

EXAMPLE = """examples:
  python -m skipcore finetune --model Qwen/Qwen2.5-VL-3B-Instruct --data train.json --eval-share 0.02 --output out
  accelerate launch --config_file fsdp2.yaml -m skipcore finetune --config out/finetune.toml --resume

Configurations of accelerate for several GPUs and machines are in skipcore/finetune/configs.
"""


def add_command(commands: Any) -> None:
    """Add the command to those of `python -m skipcore`."""
    parser = commands.add_parser(
        "finetune",
        help="train a model on your own data with steps that skip",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # what is not given does not override the file
    )
    parser.add_argument("--config", metavar="FILE", default=None, help="a TOML file with settings; flags go before it")
    for flag, about in {
        "--resume": "go on from the last checkpoint in --output",
        "--dry-run": "check the data, show what is learned of its first row, and stop",
    }.items():
        parser.add_argument(flag, action="store_true", default=False, help=about)
    parser.add_argument("--full", dest="lora", action="store_const", const=0, help="train the weights: --lora 0")
    groups: dict[str, Any] = {}
    for each in fields(Settings):
        table, kind = each.metadata["table"], each.metadata["kind"]
        if table not in groups:
            groups[table] = parser.add_argument_group(table)
        options: dict[str, Any] = {"help": _help(each.metadata, each.default)}
        if kind == "yes":
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["type"] = READERS[kind]
            options["metavar"] = kind.upper()
        if each.metadata["choices"] and kind == "text":
            options["choices"] = each.metadata["choices"]
            del options["metavar"]
        groups[table].add_argument(f"--{each.name.replace('_', '-')}", dest=each.name, **options)
    parser.set_defaults(run=_run)


def _help(metadata: Any, default: Any) -> str:
    about = metadata["about"]
    if metadata["choices"] and metadata["kind"] == "texts":
        about += f": {', '.join(metadata['choices'])}"
    if default in ("", 0, ()) or "default" in about:
        return about
    shown = ",".join(default) if isinstance(default, tuple) else default
    return f"{about} (default {str(shown).lower() if isinstance(default, bool) else shown})"


def _count(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def _range(text: str) -> tuple[int | float, ...]:
    return tuple(_count(count) for count in text.split(":"))


def _texts(text: str) -> tuple[str, ...]:
    return tuple(each for each in text.split(",") if each)


READERS = {"text": str, "whole": int, "number": float, "count": _count, "range": _range, "texts": _texts}


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings of a file, and of the flags, which go before it.

    Raises:
        InputError: one of them is bad, or is missing.
    """
    given = {each.name: getattr(options, each.name) for each in fields(Settings) if hasattr(options, each.name)}
    return Settings(**(read_values(options.config) if options.config else {}) | given)


def _run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    from skipcore.finetune.finetune import finetune  # Trainer takes a while to import

    finetune(settings, resume=options.resume, dry_run=options.dry_run)
    return 0
