"""One run: a model, rows and settings in; a folder out that `load`, the page and the profiler take as it is."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from skipcore.errors import InputError, OutOfMemory, is_out_of_memory
from skipcore.finetune.card import write_card
from skipcore.finetune.collate import NO_LABEL, Collator
from skipcore.finetune.parts import decoder_linears, table_of_parts, train_parts
from skipcore.finetune.problems import find_problems, listed, without
from skipcore.finetune.rows import Rows, read_data, split_off
from skipcore.finetune.run_settings import Settings
from skipcore.finetune.tuner import FineTuner
from skipcore.model.load import load
from skipcore.model.vlm import Vlm

SETTINGS_FILE, LOG_FILE = "finetune.toml", "finetune.json"
MEMORY_ADVICE = (
    "The device has too little memory for a step. What helps, best first: --checkpointing, a smaller --batch (with as "
    "much more --accumulate), --max-pixels, --lora, --bf16, or more devices by accelerate with FSDP."
)


def finetune(settings: Settings, *, resume: bool = False, dry_run: bool = False) -> Path:
    """Train a model with steps that skip; returns the folder of the result.

    Under `accelerate launch` every process calls this; the first one writes and prints.

    Args:
        resume: go on from the last checkpoint in the output folder; without one, begin.
        dry_run: check the data and print what is learned of the first row and what trains; nothing is written.

    Raises:
        InputError: settings, model or data are bad, or the output folder is not empty.
        OutOfMemory: says what to change.
    """
    output = Path(settings.output)
    _check_output(output, resume or dry_run)
    _check_packages(settings)
    arguments = _arguments(settings)  # also joins the other processes
    is_first = arguments.process_index == 0
    vlm = _load(settings)
    shares_weights = arguments.world_size > 1
    collator = Collator(vlm.processor, shares_weights, settings.max_length, settings.max_pixels or None)
    train_rows, eval_rows = _rows(settings, collator, is_first)
    method = settings.method(vlm.method, vlm.model.get_decoder().config.hidden_size)
    set_seed(settings.seed)  # of the adapters
    model = _trainable(vlm, settings)
    if is_first:
        print(f"{method.label}, {settings.skip_share:.0%} of the steps; {len(train_rows):,} rows")
        print(table_of_parts(vlm.model, method.summary), end="\n\n")
        print(what_is_learned(collator, train_rows), flush=True)
    if dry_run:
        return output
    trainer = FineTuner(
        model,
        arguments,
        collator,
        train_rows,
        eval_rows,
        processing_class=vlm.processor,
        method=method,
        skip_share=settings.skip_share,
        budgets=settings.budgets(),
        summary_rate=settings.summary_rate,
    )
    if is_first:
        output.mkdir(parents=True, exist_ok=True)
        (output / SETTINGS_FILE).write_text(settings.to_toml(), encoding="utf-8")
    try:
        checkpoint = get_last_checkpoint(str(output)) if resume and output.is_dir() else None
        trainer.train(resume_from_checkpoint=checkpoint)
        scores = trainer.evaluate() if eval_rows is not None else {}
    except Exception as error:
        if is_out_of_memory(error):
            raise OutOfMemory(MEMORY_ADVICE) from error
        raise
    _finish(trainer, vlm, settings, len(train_rows), scores)
    return output


def what_is_learned(collator: Collator, rows: Rows) -> str:
    """The first row as the model reads it, visual tokens counted, and what of it is learned."""
    batch = collator([rows[0]])
    tokenizer, labels = collator.processor.tokenizer, batch["labels"][-1]
    image, ids = tokenizer.convert_tokens_to_ids(collator.processor.image_token), batch["input_ids"][-1]
    visual = int((ids == image).sum())
    return (
        f"Row {rows.numbers[0] + 1} as the model reads it, with {visual:,} visual tokens left out:\n"
        f"{tokenizer.decode(ids[ids != image])}\n\nLearned of it:\n{tokenizer.decode(labels[labels != NO_LABEL])}\n"
    )


def _check_output(output: Path, may_exist: bool) -> None:
    if output.exists() and not output.is_dir():
        raise InputError(f"--output {str(output)!r} is a file: name a folder.")
    if not may_exist and output.is_dir() and any(output.iterdir()):
        raise InputError(f"The folder {str(output)!r} is not empty: pass --resume to go on there, or name another one.")


def _check_packages(settings: Settings) -> None:
    wanted = (["peft"] if settings.lora else []) + list(settings.log)
    if missing := [name for name in wanted if find_spec(name) is None]:
        raise InputError(f"This run needs other packages: pip install {' '.join(missing)}")


def _arguments(settings: Settings) -> TrainingArguments:
    """The settings as Trainer has them. Nothing is logged to a server or uploaded unless the settings say so. With rows
    to evaluate on it evaluates at every checkpoint, and ends with the best one."""
    evaluates = bool(settings.eval_data or settings.eval_share)
    return TrainingArguments(
        output_dir=settings.output,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        per_device_train_batch_size=settings.batch,
        per_device_eval_batch_size=settings.batch,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_gradient,
        bf16=settings.bf16,
        activation_checkpointing=settings.checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if settings.checkpointing else None,
        dataloader_num_workers=settings.workers,
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        prediction_loss_only=True,
        include_num_input_tokens_seen="non_padding",
        logging_steps=settings.log_steps,
        logging_first_step=True,
        save_steps=settings.save_steps,
        save_total_limit=settings.keep,
        eval_strategy="steps" if evaluates else "no",
        eval_steps=settings.save_steps,
        load_best_model_at_end=evaluates,
        seed=settings.seed,
        report_to=list(settings.log) or "none",
        run_name=Path(settings.output).name,
        hub_model_id=settings.push or None,
    )


def _load(settings: Settings) -> Vlm:
    """The model on the CPU, from where Trainer moves or shards it, in the dtype its weights are trained in."""
    dtype = torch.bfloat16 if settings.bf16 and settings.lora else torch.float32
    vlm = load(settings.model, device="cpu", dtype=dtype)
    if settings.chat_template:
        try:
            vlm.processor.chat_template = Path(settings.chat_template).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"The chat template {settings.chat_template!r} cannot be read ({error}).") from error
    return vlm


def _trainable(vlm: Vlm, settings: Settings) -> Any:
    """The model with what trains set to train: its parts, or adapters."""
    vlm.model.train()
    if not settings.lora:
        train_parts(vlm.model, settings.train)
        return vlm.model
    from peft import LoraConfig, get_peft_model

    base = Path(settings.model)
    adapters = LoraConfig(
        r=settings.lora,
        lora_alpha=settings.lora_alpha or 2 * settings.lora,
        target_modules=decoder_linears(vlm.model),
        base_model_name_or_path=str(base.resolve()) if base.is_dir() else settings.model,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(vlm.model, adapters)
    if settings.checkpointing:
        vlm.model.enable_input_require_grads()
    return model


def _rows(settings: Settings, collator: Collator, is_first: bool) -> tuple[Rows, Rows | None]:
    """The rows to train on and those to evaluate on, checked."""
    train = read_data(settings.data, settings.images or None, settings.split)
    evaluation = None
    if settings.eval_data:
        evaluation = read_data(settings.eval_data, settings.images or None, settings.eval_split)
        evaluation = _checked(evaluation, settings, collator, is_first)
    train = _checked(train, settings, collator, is_first)
    if settings.eval_share:
        train, evaluation = split_off(train, settings.eval_share, settings.seed)
    return train, evaluation


def _checked(rows: Rows, settings: Settings, collator: Collator, is_first: bool) -> Rows:
    """The rows without those that have problems, if that is wanted. The first process looks, the others are told."""
    found: list[Any] = [find_problems(rows, collator, settings.read_pictures) if is_first else None]
    if torch.distributed.is_initialized():
        torch.distributed.broadcast_object_list(found)
    problems = found[0]
    if not problems:
        return rows
    what = f"{len(problems):,} of {len(rows):,} rows of {rows.name} cannot be learned from:\n{listed(problems)}"
    if not settings.skip_bad_rows:
        raise InputError(f"{what}\nMend them, or leave them out with --skip-bad-rows.")
    if is_first:
        print(f"{what}\nThey are left out.\n")
    return without(rows, problems)


def _finish(trainer: FineTuner, vlm: Vlm, settings: Settings, rows: int, scores: dict[str, float]) -> None:
    """Write the result: model or adapters, processor, method, log and card; upload it where that is wanted."""
    output = Path(settings.output)
    trainer.save_model()
    if trainer.args.process_index == 0:
        if settings.merge:
            _merge(trainer, output)
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
        record = {"scores": scores, "peak_memory_bytes": peak, "log": trainer.state.log_history}
        (output / LOG_FILE).write_text(json.dumps(record, indent=1) + "\n")
        write_card(output, settings, trainer.method.label, rows, trainer.state.global_step, scores)
        if settings.push:
            upload(output, settings.push)
        print(f'The result is in {output}: load("{output}"), or python -m app --model {output}')


def _merge(trainer: FineTuner, output: Path) -> None:
    """Put a whole model in the place of the adapters."""
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    merged = model.merge_and_unload()
    state = {name: value for name, value in merged.state_dict().items() if not name.startswith("skip_summary.")}
    merged.save_pretrained(output, state_dict=state)
    for file in output.glob("adapter_*"):
        file.unlink()


def upload(folder: Path, name: str) -> None:
    """Upload a result to the Hub, without its checkpoints."""
    from huggingface_hub import HfApi

    hub = HfApi()
    hub.create_repo(name, exist_ok=True)
    hub.upload_folder(repo_id=name, folder_path=folder, ignore_patterns=["checkpoint-*/*", "*.bin"])
    print(f"Uploaded to https://huggingface.co/{name}")
