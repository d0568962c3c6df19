"""The settings of a fine-tuning run: a table of fields that makes the command's flags and the file's keys."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from skipcore.errors import InputError
from skipcore.finetune.parts import PARTS
from skipcore.finetune.step_budgets import Budgets
from skipcore.methods.retain import RETAIN_RULES
from skipcore.methods.settings import Count, checked_count
from skipcore.methods.skip_vision import SkipVision
from skipcore.plan.summary import AdaptiveSummary

USUAL = SkipVision(0.174, 0.271)
"""Shares as in the paper's 100 + 156 of 576."""
OWN = "(default: the model's own)"
YES_NO = ("yes", "no")
LOGGERS = ("trackio", "tensorboard", "wandb")
Setting = str | int | float | bool | None | tuple[Any, ...]


def _of(table: str, default: Setting, kind: str, about: str, choices: tuple[str, ...] = ()) -> Any:
    """A field: its table in the file, how it is read, and what it does."""
    metadata = {"table": table, "kind": kind, "about": about, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """Everything that fixes a run. Each field is a flag, and a key in a table of a TOML file.

    `kind` says how a value is read: "text", "whole", "number", "yes" (true or false), "count" (tokens of a picture, or
    a float share of them), "range" (two counts, as LOW:HIGH), "texts" (separated by commas).

    Raises:
        InputError: a value is impossible; the message says which.
    """

    model: str = _of("model", "", "text", "model folder or Hub id")
    chat_template: str = _of("model", "", "text", "a file with another chat template than the model's own")
    data: str = _of("data", "", "text", "file, folder or Hub id of the rows to learn")
    images: str = _of("data", "", "text", "folder that paths of pictures are relative to (default: that of the data)")
    split: str = _of("data", "train", "text", "split of data sets that have several")
    eval_data: str = _of("data", "", "text", "rows to evaluate on, in the forms of --data")
    eval_split: str = _of("data", "test", "text", "split of --eval-data")
    eval_share: float = _of("data", 0.0, "number", "share of the rows to hold out and evaluate on")
    max_length: int = _of("data", 4096, "whole", "longest row in tokens; rows are never cut")
    max_pixels: int = _of("data", 0, "whole", "larger pictures are made smaller (0: as they are)")
    skip_bad_rows: bool = _of("data", False, "yes", "leave rows with a problem out, instead of stopping")
    read_pictures: bool = _of("data", True, "yes", "read all pictures whole before the first step")
    num_retained: int | float = _of("method", 0, "count", f"retained tokens of a picture, count or share {OWN}")
    num_skipped: int | float = _of("method", 0, "count", f"skipped tokens of a picture, count or share {OWN}")
    retained_range: tuple[Count, ...] = _of("method", (), "range", "draw a new --num-retained for each step, LOW:HIGH")
    skipped_range: tuple[Count, ...] = _of("method", (), "range", "draw a new --num-skipped for each step, LOW:HIGH")
    text_attends_skipped: str = _of("method", "", "text", f"whether text attends to skipped tokens {OWN}", YES_NO)
    retain: str = _of("method", "", "text", f"which tokens are retained {OWN}", tuple(RETAIN_RULES))
    skip_share: float = _of("method", 1.0, "number", "share of the steps that skip; the others are dense")
    train_summary: bool = _of("method", False, "yes", "train the weights of the summary tokens, too")
    lora: int = _of("lora", 16, "whole", "rank of adapters on the decoder's linear layers; 0 trains the weights")
    lora_alpha: int = _of("lora", 0, "whole", "scale of the adapters (default: twice the rank)")
    merge: bool = _of("lora", False, "yes", "write a whole model with the adapters merged, not the adapters")
    train: tuple[str, ...] = _of("train", ("connector", "decoder"), "texts", "parts trained where --lora is 0", PARTS)
    lr: float = _of("train", 0.0, "number", "highest learning rate (default: 1e-4 for adapters, else 1e-5)")
    summary_rate: float = _of("train", 10.0, "number", "times --lr that the summary learns at")
    warmup: float = _of("train", 0.03, "number", "share of the steps in which the rate rises; then it falls, a cosine")
    weight_decay: float = _of("train", 0.0, "number", "of the matrices")
    max_gradient: float = _of("train", 1.0, "number", "norm that gradients are clipped to")
    epochs: float = _of("train", 1.0, "number", "passes over the rows")
    max_steps: int = _of("train", 0, "whole", "steps, instead of --epochs")
    batch: int = _of("train", 1, "whole", "rows at once on each device")
    accumulate: int = _of("train", 8, "whole", "parts in which a step is done: more rows, no more memory")
    bf16: bool = _of("train", False, "yes", "compute in bfloat16")
    checkpointing: bool = _of("train", False, "yes", "run layers again in backward: less memory, more time")
    workers: int = _of("train", 2, "whole", "processes that read pictures, on each device")
    seed: int = _of("train", 0, "whole", "of the order of the rows and all that is drawn")
    log_steps: int = _of("train", 10, "whole", "steps from one line of the log to the next")
    save_steps: int = _of("train", 500, "whole", "steps from one checkpoint, and evaluation, to the next")
    keep: int = _of("train", 2, "whole", "checkpoints that are kept, the best one aside")
    log: tuple[str, ...] = _of("train", (), "texts", "where to log besides the terminal", LOGGERS)
    push: str = _of("train", "", "text", "Hub id to upload the result to (default: nowhere)")
    output: str = _of("train", "", "text", "folder for checkpoints and the result")

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, checked(each.name, getattr(self, each.name), each.metadata))
        for rule, holds in self._rules().items():
            if not holds:
                raise InputError(f"{rule}.")
        self.method()
        self.budgets()

    def _rules(self) -> dict[str, bool]:
        return {
            "A run needs --model, --data and --output": bool(self.model and self.data and self.output),
            "Take --eval-data or --eval-share, not both": not (self.eval_data and self.eval_share),
            "--eval-share, --skip-share and --warmup must be 0 to 1": all(
                0 <= share <= 1 for share in (self.eval_share, self.skip_share, self.warmup)
            ),
            "Take --retained-range and --skipped-range together": bool(self.retained_range) == bool(self.skipped_range),
            "--batch, --accumulate, --log-steps, --save-steps and --max-length must be at least 1": min(
                self.batch, self.accumulate, self.log_steps, self.save_steps, self.max_length
            )
            >= 1,
            "Take --num-retained and --num-skipped together": bool(self.num_skipped) or not self.num_retained,
            "--epochs must be above 0": self.epochs > 0,
            "--max-gradient must be above 0": self.max_gradient > 0,
            "--train is for --lora 0 alone: adapters go to the decoder": not self.lora
            or self.train == ("connector", "decoder"),
            "--merge is for adapters: leave out --lora 0": bool(self.lora) or not self.merge,
            "--train needs at least one part": bool(self.train),
        }

    @property
    def rate(self) -> float:
        """The highest learning rate."""
        return self.lr or (1e-4 if self.lora else 1e-5)

    def method(self, own: SkipVision | None = None, width: int | None = None) -> SkipVision:
        """What the run trains for. A trained summary of the model's own method is kept, and trains if it should.

        Args:
            own: the method that the model carries.
            width: of the decoder, for a new summary that is to be trained; None: without one.
        """
        changes: dict[str, Any] = {}
        if self.num_skipped:
            changes |= {"num_retained": self.num_retained, "num_skipped": self.num_skipped}
        if self.retain:
            changes["retain"] = self.retain
        if self.text_attends_skipped:
            changes["text_attends_skipped"] = self.text_attends_skipped == "yes"
        method = replace(own or USUAL, **changes)
        if self.train_summary and width is not None:
            summary = AdaptiveSummary(width) if method.summary is None else method.summary
            method = replace(method, summary=summary.requires_grad_(True))
        return method

    def budgets(self) -> Budgets | None:
        """The ranges that each step draws its budget from; None: all steps have the method's."""
        if not self.retained_range:
            return None
        return Budgets(self.retained_range, self.skipped_range)  # type: ignore[arg-type]

    def to_toml(self) -> str:
        """All settings as a file that `read_settings` reads."""
        tables: dict[str, list[str]] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            written = json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
            tables.setdefault(each.metadata["table"], []).append(f"{each.name} = {written}")
        return "\n\n".join("\n".join([f"[{name}]", *lines]) for name, lines in tables.items()) + "\n"


def checked(name: str, value: Any, metadata: Mapping[str, Any]) -> Any:
    """A setting as its kind has it.

    Raises:
        InputError: it is of another kind, or none of the choices.
    """
    kind, choices = metadata["kind"], metadata["choices"]
    flag = f"--{name.replace('_', '-')}"
    if kind == "count":
        return checked_count(flag, value)
    if kind in ("range", "texts"):
        if not isinstance(value, list | tuple):
            raise InputError(f"{flag} must be a list, not {value!r}.")
        if kind == "range":
            if len(value) not in (0, 2):
                raise InputError(f"{flag} must be two counts, the lowest and the highest, not {value!r}.")
            return tuple(checked_count(flag, count) for count in value)
        value = tuple(value)
    elif kind == "number" and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    wanted: type = {"text": str, "whole": int, "number": float, "yes": bool, "texts": tuple}[kind]
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        said = {"text": "a text", "whole": "a whole number", "number": "a number", "yes": "true or false"}[kind]
        raise InputError(f"{flag} must be {said}, not {value!r}.")
    if isinstance(value, int | float) and value < 0:
        raise InputError(f"{flag} must not be negative, but is {value}.")
    if choices and value and (unknown := set(value if isinstance(value, tuple) else [value]) - set(choices)):
        raise InputError(f"{flag} must be of {', '.join(choices)}, not {', '.join(map(str, sorted(unknown)))}.")
    return value


def read_values(file: str | Path) -> dict[str, Any]:
    """The values of a TOML file, by setting.

    Raises:
        InputError: there is no such file, it is no TOML, or a table or key is unknown.
    """
    try:
        tables = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The settings {str(file)!r} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not valid TOML: {error}.") from error
    known = {(each.metadata["table"], each.name) for each in fields(Settings)}
    values = {}
    for table, own in tables.items():
        for name, value in own.items() if isinstance(own, dict) else [("", own)]:
            if (table, name) not in known:
                names = ", ".join(key for where, key in sorted(known) if where == table) or "no such table"
                raise InputError(f"{file} has an unknown key {name!r} in [{table}]; known there: {names}.")
            values[name] = value
    return values
