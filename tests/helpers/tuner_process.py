"""One of several CPU processes that fine-tune tiny models together: `python tuner_process.py CASES.json RESULTS.json`.

accelerate takes FSDP on the CPU for DDP, without a word (state.py): here the kind of run is set behind its back.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from tiny_families import WIDTH
from tiny_rows import ROWS, trainable
from tiny_tuner import losses, tuner, with_lora
from torch.distributed.tensor import DTensor

from skipcore import AdaptiveSummary, SkipVision
from skipcore.finetune.collate import Collator

ORDERS = {"mixed": [0, 1, 2, 3], "one rank without pictures": [0, 1, 2, 2]}
FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}


def run(case: dict) -> dict:
    """Train as the case says; the losses and gradient norms of its steps, and its evaluation."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    os.environ["FSDP_STATE_DICT_TYPE"] = case.get("state", "FULL_STATE_DICT")
    vlm = trainable(case["model"])
    method = SkipVision(0.2, 0.3, summary=AdaptiveSummary(WIDTH))
    torch.manual_seed(4)  # of the adapters
    model = with_lora(vlm) if case.get("lora") else None
    rows = [ROWS[number] for number in ORDERS[case.get("order", "mixed")]] * 4
    trainer = tuner(
        vlm,
        Path(case["folder"]),
        method,
        rows,
        model,
        batch=4 // world,
        skip_share=case.get("skip_share", 0.5),
        eval_dataset=ROWS,
        collator=Collator(vlm.processor, spare=world > 1),
        before=_shard if case.get("kind") == "FSDP2" else None,
        train_sampling_strategy="sequential",
        **case.get("options", {}),
    )
    trainer.train(resume_from_checkpoint=case.get("resume", False))
    if case.get("kind") == "FSDP2":
        assert trainer.is_fsdp_enabled and all(isinstance(each, DTensor) for each in trainer.model.parameters())
    scores = trainer.evaluate()
    trainer.save_model()
    return {"losses": losses(trainer), "eval_loss": scores["eval_loss"], "eval_dense_loss": scores["eval_dense_loss"]}


def _shard() -> None:
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU


if __name__ == "__main__":
    torch.set_num_threads(1)
    results = [run(case) for case in json.loads(Path(sys.argv[1]).read_text())]
    if os.environ.get("RANK", "0") == "0":
        Path(sys.argv[2]).write_text(json.dumps(results))
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
