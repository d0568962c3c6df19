"""Training steps that skip: which, on what, at what loss, and how they go on after a stop."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from model_runs import hooks
from tiny_families import WIDTH
from tiny_rows import ROWS, trainable
from tiny_tuner import METHOD, losses, tuner, with_lora
from transformers import TrainerCallback

from skipcore import AdaptiveSummary, InputError, SkipVision, Vlm, load_method
from skipcore.finetune.collate import Collator
from skipcore.finetune.step_budgets import Budgets, skips
from skipcore.finetune.tuner import FineTuner


def hooks_of_its_own(vlm: Vlm) -> int:
    """After a plain forward pass, in which transformers leaves some."""
    with torch.no_grad():
        vlm.model(**Collator(vlm.processor)(ROWS))
    return hooks(vlm)


@pytest.mark.parametrize(("share", "wanted"), [(1, "1111"), (0.5, "0101"), (0.75, "0111"), (0, "0000")])
def test_steps_that_skip_are_evenly_spread(share: float, wanted: str) -> None:
    assert "".join(str(int(skips(step, share))) for step in range(4)) == wanted
    assert sum(skips(step, share) for step in range(1000)) == 1000 * share


def test_budgets_are_drawn_by_seed_and_step() -> None:
    budgets = Budgets((2, 40), (0.1, 0.5))
    drawn = [budgets.draw(METHOD, 7, step) for step in range(200)]
    assert drawn == [budgets.draw(METHOD, 7, step) for step in range(200)] and len(set(drawn)) > 150
    assert {method.num_retained for method in drawn} >= {2, 3, 40} and all(0.1 <= m.num_skipped <= 0.5 for m in drawn)
    for bad in ((0, 3), (5, 4), (1, 0.5)):
        with pytest.raises(InputError, match="range of retained"):
            Budgets(bad, (1, 2))


@pytest.mark.parametrize("name", ["LLaVA", "Qwen2.5-VL", "SmolVLM"])
def test_the_loss_is_the_models_own(name: str, tmp_path: Path) -> None:
    """Logits at labels alone, and the same loss."""
    vlm = trainable(name)
    trainer = tuner(vlm, tmp_path)
    batch = Collator(vlm.processor)(ROWS)
    with trainer.session(), torch.no_grad():
        torch.testing.assert_close(trainer.compute_loss(vlm.model, batch), vlm.model(**batch).loss)


@pytest.mark.parametrize("name", ["LLaVA", "Qwen2.5-VL"])
def test_accumulated_parts_equal_the_big_batch(name: str, tmp_path: Path) -> None:
    """4 × 1 = 2 × 2 = 1 × 4, mixed numbers of pictures, half of the steps dense (A8)."""
    found = []
    for batch in (4, 2, 1):
        trainer = tuner(
            trainable(name), tmp_path, batch=batch, gradient_accumulation_steps=4 // batch, skip_share=0.5, optim="sgd"
        )
        trainer.train()
        found.append(torch.tensor(losses(trainer)))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[2], found[0], rtol=1e-4, atol=1e-5)


def test_a_share_of_the_steps_skips(tmp_path: Path) -> None:
    vlm = trainable("LLaVA")
    budgets = Budgets((0.1, 0.3), (0.1, 0.3))
    trainer = tuner(vlm, tmp_path, skip_share=0.5, budgets=budgets, gradient_accumulation_steps=2, batch=2)
    methods, session, before = [], trainer.session, hooks_of_its_own(vlm)
    trainer.session = lambda method: (methods.append(method), session(method))[1]  # type: ignore[method-assign]
    trainer.train()
    seed = trainer.args.seed
    assert methods == [budgets.draw(METHOD, seed, step) for step in (1, 1, 3, 3)]
    assert hooks(vlm) == before


def test_an_exception_leaves_no_hooks(tmp_path: Path) -> None:
    """A16."""
    vlm = trainable("LLaVA")
    trainer, before = tuner(vlm, tmp_path), hooks_of_its_own(vlm)
    trainer.compute_loss = lambda *args, **kwargs: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        trainer.train()
    assert hooks(vlm) == before


def test_evaluation_is_dense_and_skipping(tmp_path: Path) -> None:
    """A15. Its loss counts tokens, whatever the batch; a model that learned its rows answers them word for word."""
    vlm = trainable("LLaVA")
    trainer = tuner(vlm, tmp_path, rows=ROWS, eval_dataset=ROWS, learning_rate=3e-3, max_steps=50)
    before = trainer.evaluate()
    assert before["eval_accuracy"] == 0
    batch = Collator(vlm.processor)(ROWS)
    with torch.no_grad():
        dense = trainer.compute_loss(vlm.model, dict(batch))
    assert before["eval_dense_loss"] == pytest.approx(dense.item(), rel=1e-5)
    assert before["eval_loss"] != pytest.approx(before["eval_dense_loss"], rel=1e-3)
    again = tuner(vlm, tmp_path, eval_dataset={"all": ROWS}, batch=1).evaluate()
    assert again["eval_all_loss"] == pytest.approx(before["eval_loss"], rel=1e-5)
    trainer.train()
    assert trainer.evaluate()["eval_accuracy"] == 1


class Stop(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs) -> None:
        control.should_training_stop = state.global_step == 2


@pytest.mark.parametrize("name", ["LLaVA", "Qwen2.5-VL"])
@pytest.mark.parametrize("kind", ["full", "LoRA"])
def test_going_on_equals_never_stopping(name: str, kind: str, tmp_path: Path) -> None:
    """A10: with a summary that trains, and half of the steps skipping with drawn budgets."""
    method = SkipVision(0.2, 0.3, summary=AdaptiveSummary(WIDTH))
    options = {"save_strategy": "steps", "save_steps": 2, "skip_share": 0.5, "budgets": Budgets((0.1, 0.3), (0.2, 0.3))}

    def fresh(folder: Path) -> FineTuner:
        vlm = trainable(name)
        torch.manual_seed(4)  # of the adapters
        return tuner(vlm, folder, method, model=with_lora(vlm) if kind == "LoRA" else None, **options)

    whole = fresh(tmp_path / "whole")
    whole.train()
    stopped = fresh(tmp_path / "stopped")
    stopped.add_callback(Stop())
    stopped.train()
    second = fresh(tmp_path / "stopped")
    second.train(resume_from_checkpoint=True)
    torch.testing.assert_close(torch.tensor(losses(second)), torch.tensor(losses(whole)), rtol=1e-5, atol=1e-6)
    for one, other in zip(second.method.summary.parameters(), whole.method.summary.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert second.method.summary.score.weight.abs().sum() > 0


def test_the_best_checkpoint_is_restored(tmp_path: Path) -> None:
    """A10. The rate is so high that the last step is not the best one."""
    vlm = trainable("Qwen2.5-VL")
    method = SkipVision(0.2, 0.3, summary=AdaptiveSummary(WIDTH))
    trainer = tuner(
        vlm, tmp_path, method, eval_dataset=ROWS, learning_rate=0.1, eval_strategy="steps", eval_steps=1,
        save_strategy="steps", save_steps=1, load_best_model_at_end=True, max_steps=3,
    )  # fmt: skip
    trainer.train()
    found = [log["eval_loss"] for log in trainer.state.log_history if "eval_loss" in log]
    assert found[-1] > min(found) + 0.01
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(found), rel=1e-5)


def test_saved_weights_are_without_the_summary(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    vlm = trainable("LLaVA")
    method = SkipVision(0.2, 0.3, summary=AdaptiveSummary(WIDTH))
    untouched = copy.deepcopy(method.summary.state_dict())
    trainer = tuner(vlm, tmp_path, method)
    trainer.train()
    trainer.save_model()
    saved = load_method(tmp_path)
    assert saved is not None and saved.num_retained == 0.2
    torch.testing.assert_close(saved.summary.state_dict(), dict(trainer.method.summary.state_dict()))
    assert all(torch.equal(value, untouched[name]) for name, value in method.summary.state_dict().items())
    caplog.clear()
    again = type(vlm.model).from_pretrained(tmp_path)
    assert "UNEXPECTED" not in caplog.text and "MISSING" not in caplog.text
    torch.testing.assert_close(again.state_dict()["lm_head.weight"], vlm.model.lm_head.weight.data)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_changes_nothing(reentrant: bool, tmp_path: Path) -> None:
    found = []
    for options in (
        {},
        {"activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": reentrant}},
    ):
        trainer = tuner(trainable("LLaVA"), tmp_path, skip_share=0.5, **options)
        trainer.train()
        found.append(torch.tensor(losses(trainer)))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)


def test_bad_shares_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="skip_share must be 0 to 1"):
        tuner(trainable("LLaVA"), tmp_path, skip_share=1.5)
