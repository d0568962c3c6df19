"""Trainers of a few steps on a tiny model, whose steps skip."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_rows import ROWS
from transformers import TrainingArguments

from skipcore import SkipVision, Vlm
from skipcore.finetune.collate import Collator
from skipcore.finetune.tuner import FineTuner

METHOD = SkipVision(0.2, 0.3)


def tuner(
    vlm: Vlm, folder: Path, method: SkipVision = METHOD, rows: list = ROWS * 4, model=None, **options
) -> FineTuner:
    """A trainer of a few steps of 4 rows."""
    own = {name: options.pop(name) for name in ("skip_share", "budgets", "eval_dataset") if name in options}
    batch, collator = options.pop("batch", 4), options.pop("collator", None)
    before = options.pop("before", None)
    arguments = TrainingArguments(
        **{
            "output_dir": str(folder),
            "max_steps": 4,
            "per_device_train_batch_size": batch,
            "per_device_eval_batch_size": batch,
            "learning_rate": 1e-2,
            "lr_scheduler_type": "constant",
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": [],
            "remove_unused_columns": False,
            "use_cpu": True,
            "disable_tqdm": True,
            **options,
        }
    )
    if before is not None:
        assert arguments.device  # joins the other processes
        before()
    return FineTuner(
        model if model is not None else vlm.model,
        arguments,
        collator or Collator(vlm.processor),
        rows,
        processing_class=vlm.processor,
        method=method,
        **own,
    )


def losses(trainer: FineTuner) -> list[tuple[float, float]]:
    return [(log["loss"], log["grad_norm"]) for log in trainer.state.log_history if "grad_norm" in log]


def with_lora(vlm: Vlm) -> torch.nn.Module:
    peft = pytest.importorskip("peft")
    targets = r".*(language|text)_model.*\.(gate|up|down)_proj"
    return peft.get_peft_model(vlm.model, peft.LoraConfig(r=4, lora_alpha=8, target_modules=targets))
