"""Training steps that skip: a mixin that turns transformers' Trainer, or a subclass of it, into a skipping one."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.nn.functional import cross_entropy
from transformers import Trainer

from skipcore.errors import InputError
from skipcore.families import decoder_layers
from skipcore.finetune.collate import NO_LABEL
from skipcore.finetune.step_budgets import SUMMARY, Budgets, skips
from skipcore.methods.settings import checked_number
from skipcore.methods.skip_vision import SkipVision
from skipcore.model.hardware import input_device
from skipcore.model.saved_method import load_method, save_method
from skipcore.model.wrappers import stock_model
from skipcore.tower.blocks import Tower

WHOLE = StateDictOptions(full_state_dict=True)


class SkippingSteps:
    """Inherit this before a Trainer: `class MyTrainer(SkippingSteps, Trainer)`.

    A share of the training steps runs under the method, forward and backward; the others are dense. All parts that
    accumulate to one step are of one kind. Evaluation runs both ways: `eval_loss` and `eval_accuracy` are under the
    method, `eval_dense_loss` and `eval_dense_accuracy` are dense. Accuracy is the share of rows whose every label is
    the most likely token: those that greedy decoding would answer word for word.

    The loss is the mean over all labels of a step, whatever the number of parts and processes. Logits are computed
    where there are labels, and nowhere else.

    The method's summary becomes a part of the model while it trains, so that processes share its gradients and the
    optimizer has it; it trains if its parameters require gradients. Saved weights are without it: it is saved with
    the method, in every checkpoint.

    Args:
        method: the Skip-Vision to train for. The trainer works on a copy of its summary: see `trainer.method`.
        skip_share: of the steps, 0 to 1.
        budgets: what each skipping step draws its budget from; None: the method's own. Evaluation and what is saved
            have the method's own.
        summary_rate: how many times the learning rate the summary learns at; its scores start at zero.

    Raises:
        InputError: the share is impossible, or the model is not supported.
    """

    def __init__(
        self,
        *args: Any,
        method: SkipVision,
        skip_share: float = 1.0,
        budgets: Budgets | None = None,
        summary_rate: float = 10.0,
        **kwargs: Any,
    ) -> None:
        if not 0 <= checked_number("skip_share", skip_share) <= 1:
            raise InputError(f"skip_share must be 0 to 1, not {skip_share}.")
        super().__init__(*args, **kwargs)
        trainer: Any = self
        # Some models say that they count no tokens over accumulated parts; `compute_loss` does it for all.
        trainer.model_accepts_loss_kwargs = True
        if trainer.is_fsdp_enabled:
            _shard_by_layers(trainer)
        self.skip_share, self.budgets, self.summary_rate = skip_share, budgets, summary_rate
        stock = stock_model(trainer.model)
        if method.summary is not None:
            method = replace(method, summary=copy.deepcopy(method.summary).to(input_device(stock)))
            setattr(stock, SUMMARY, method.summary)
        self.method = method
        self._sums: Tensor | None = None  # of the evaluation that runs

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """The optimizer, in which the summary has a learning rate of its own and no weight decay."""
        optimizer = super().create_optimizer(*args, **kwargs)  # type: ignore[misc]
        named = _trainer(self).model.named_parameters()
        own = [each for name, each in named if f"{SUMMARY}." in name and each.requires_grad]
        if own:
            for group in optimizer.param_groups:
                group["params"] = [each for each in group["params"] if not any(each is one for one in own)]
            rate = _trainer(self).args.learning_rate * self.summary_rate
            optimizer.add_param_group({"params": own, "lr": rate, "weight_decay": 0.0})
        return optimizer

    def session(self, method: SkipVision | None = None) -> AbstractContextManager:
        """A session on the model that trains, by default under the trainer's method."""
        return (method or self.method)(stock_model(_trainer(self).model))

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """One part of a step. Backward is within the session: checkpointed layers run again there."""
        trainer = _trainer(self)
        step = trainer.state.global_step
        if not skips(step, self.skip_share):
            return super().training_step(*args, **kwargs)  # type: ignore[misc]
        method = self.budgets.draw(self.method, trainer.args.seed, step) if self.budgets else self.method
        with self.session(method):
            return super().training_step(*args, **kwargs)  # type: ignore[misc]

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean cross-entropy of the labels of a whole step, of which this batch is a part."""
        trainer = _trainer(self)
        labels = inputs["labels"][:, 1:]
        wanted = labels != NO_LABEL
        places = wanted.any(dim=0).nonzero().flatten()
        others = {name: value for name, value in inputs.items() if name != "labels"}
        logits = model(**others, logits_to_keep=places, use_cache=False).logits.float()
        labels, wanted = labels[:, places], wanted[:, places]
        total = cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=NO_LABEL, reduction="sum")
        if self._sums is not None:
            is_right = ((logits.argmax(-1) == labels) | ~wanted).all(dim=1) & wanted.any(dim=1)
            counts = total, wanted.sum(), is_right.sum(), wanted.any(dim=1).sum()
            self._sums += torch.stack([count.detach().double() for count in counts])
        if num_items_in_batch is None:
            loss = total / wanted.sum().clamp(min=1)
        else:
            processes = trainer.accelerator.num_processes if trainer.args.average_tokens_across_devices else 1
            loss = total / num_items_in_batch * processes
        if isinstance(model, nn.parallel.DistributedDataParallel) and not model.find_unused_parameters:
            loss = loss + 0 * sum(parameter.sum() for parameter in self._summary_parameters())  # a dense step's
        return (loss, {"loss": loss}) if return_outputs else loss

    def _summary_parameters(self) -> list[nn.Parameter]:
        summary = self.method.summary
        return [] if summary is None else [each for each in summary.parameters() if each.requires_grad]

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Evaluate dense, then under the method."""
        named = _trainer(self).eval_dataset if eval_dataset is None else eval_dataset
        evaluate = super().evaluate  # type: ignore[misc]
        if isinstance(named, dict):  # comes back here with each of them
            return evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        dense = evaluate(eval_dataset, ignore_keys, f"{metric_key_prefix}_dense")
        with self.session():
            return dense | evaluate(eval_dataset, ignore_keys, metric_key_prefix)

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        """One pass over the data; its loss counts tokens, as in training."""
        trainer = _trainer(self)
        self._sums = torch.zeros(4, dtype=torch.float64, device=trainer.args.device)
        try:
            output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)  # type: ignore[misc]
            total, tokens, right, rows = trainer.accelerator.reduce(self._sums, "sum").tolist()
        finally:
            self._sums = None
        if tokens:
            found = {"loss": total / tokens, "accuracy": right / rows}
            output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in found.items()})
        return output

    # Saving and going on

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model without its summary, and the method with it. Every process takes part."""
        trainer, method = _trainer(self), self.method
        if method.summary is not None:  # sharded weights are gathered
            summary = type(method.summary)(*method.summary.norm.normalized_shape)
            summary.load_state_dict(get_model_state_dict(method.summary, options=WHOLE))
            method = replace(method, summary=summary)
        folder = output_dir or trainer.args.output_dir
        if trainer.args.should_save:  # before the model, which may be pushed to the Hub
            save_method(method, folder)
        if trainer.is_fsdp_enabled and not _internal_call:  # the last one: a folder that holds the model, not shards
            trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
        super().save_model(output_dir, _internal_call)  # type: ignore[misc]

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        state = _trainer(self).model.state_dict() if state_dict is None else state_dict
        state = {name: value for name, value in state.items() if f"{SUMMARY}." not in name}
        super()._save(output_dir, state)  # type: ignore[misc]

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
        self._restore(resume_from_checkpoint)

    def _load_best_model(self) -> None:
        super()._load_best_model()  # type: ignore[misc]
        self._restore(_trainer(self).state.best_model_checkpoint)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """None: it would name every weight that `_restore` is about to set."""

    def _restore(self, checkpoint: str) -> None:
        """Set the weights that Trainer leaves out: it looks for those of a folder under other names than they are
        written with (transformers issue 43701), and knows nothing of the summary's file."""
        trainer = _trainer(self)
        stock = stock_model(trainer.model)
        if not trainer.is_fsdp_enabled and Path(checkpoint, "config.json").is_file():
            saved = type(stock).from_pretrained(checkpoint, dtype=stock.dtype).state_dict()
            stock.load_state_dict(saved, strict=False)
        method = load_method(checkpoint)
        if self.method.summary is not None and method is not None and method.summary is not None:
            set_model_state_dict(self.method.summary, method.summary.state_dict(), options=WHOLE)


def _shard_by_layers(trainer: Any) -> None:
    """Unless settings say otherwise, FSDP shards models by the layers of decoder and tower. accelerate would go by
    names that some models do not even hold."""
    plugin, model = trainer.accelerator.state.fsdp_plugin, stock_model(trainer.model)
    if plugin.transformer_cls_names_to_wrap is None:
        layers = decoder_layers(model)[0], Tower(model).blocks[0]
        plugin.transformer_cls_names_to_wrap = sorted({type(layer).__name__ for layer in layers})


def _trainer(steps: object) -> Any:
    """What the mixin is mixed into, to the eyes of a type checker."""
    return steps


class FineTuner(SkippingSteps, Trainer):
    """transformers' Trainer with steps that skip; see `SkippingSteps`."""
