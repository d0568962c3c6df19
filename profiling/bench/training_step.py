"""What a training step costs, Skip-Vision against dense: time, FLOPs and saved activations.

Random LLaVA models with a decoder of LLaMA-3 8B's proportions, d = 512, 8 layers; the tower is frozen, the rest trains.
A step is forward and backward on one row with a loss on its last tokens, entering and leaving the session included.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from profiling.bench.random_models import DecoderSize, on_gpu, random_llava, random_picture
from profiling.bench.session_cost import PairedRatio, time_in_pairs
from profiling.clock import now
from profiling.output.table import columns
from skipcore import SkipVision, Vlm, command_line
from skipcore.model.hardware import device_facts, versions
from skipcore.model.load import default_device

SIZE = DecoderSize(hidden_size=512, num_layers=8, num_heads=8, num_key_value_heads=2)
QUESTION = "What is in this picture, where is it, and what is its color?"
ANSWER_TOKENS = 16
CASES: tuple[tuple[int, int, int], ...] = ((336, 100, 156), (336, 100, 476), (756, 576, 576), (756, 576, 2340))
"""Side of the picture in pixels, with (side / 14)² visual tokens; how many are retained, and how many skipped. In every
other case nothing is merged: what the FFN alone saves."""


@dataclass(frozen=True)
class StepCost:
    """A step under Skip-Vision against a dense one.

    Attributes:
        tokens: of the row.
        method: its label.
        time: ratio of the two, round by round.
        flops, saved: ratios of floating-point operations, and of the most bytes that are kept for backward.
        checkpointed_saved: the same with layers that run again in backward.
        session_ms: milliseconds that entering and leaving take.
        dense_gflops, dense_saved_mb: of the dense step.
    """

    tokens: int
    method: str
    time: PairedRatio
    flops: float
    saved: float
    checkpointed_saved: float
    session_ms: float
    dense_gflops: float
    dense_saved_mb: float


def run_training_bench(
    seconds: float, size: DecoderSize = SIZE, cases: tuple[tuple[int, int, int], ...] = CASES
) -> Iterator[StepCost]:
    """Measure each case, `seconds` long or four steps, whichever is longer."""
    for side, retained, skipped in cases:
        vlm = on_gpu(random_llava(size, image_size=side))
        vlm.model.train().requires_grad_(True)
        vlm.model.model.vision_tower.requires_grad_(False)
        yield _cost_of(vlm, side, SkipVision(retained, skipped), seconds)


def _cost_of(vlm: Vlm, side: int, method: SkipVision, seconds: float) -> StepCost:
    inputs = vlm.prepare(random_picture(side, side), QUESTION).inputs

    def dense() -> float:
        return _step(vlm, inputs, nullcontext())

    def skipping() -> float:
        return _step(vlm, inputs, method(vlm.model))

    time = time_in_pairs(skipping, dense, seconds)
    operations = [_flops(each) for each in (skipping, dense)]
    saved = [_saved_bytes(vlm, each) for each in (skipping, dense)]
    with _checkpointing(vlm):
        checkpointed = [_saved_bytes(vlm, each) for each in (skipping, dense)]
    return StepCost(
        inputs["input_ids"].shape[1],
        method.label,
        time,
        operations[0] / operations[1],
        saved[0] / saved[1],
        checkpointed[0] / checkpointed[1],
        _session_ms(vlm, method),
        operations[1] / 1e9,
        saved[1] / 1e6,
    )


def _step(vlm: Vlm, inputs: dict[str, Any], session: AbstractContextManager) -> float:
    """Run forward and backward; the loss."""
    vlm.model.zero_grad(set_to_none=True)
    labels = inputs["input_ids"][0, -ANSWER_TOKENS:]
    with session:
        logits = vlm.model(**inputs, logits_to_keep=ANSWER_TOKENS + 1, use_cache=False).logits[0, :-1]
        loss = cross_entropy(logits.float(), labels)
        loss.backward()
    return loss.item()


def _flops(run: Callable[[], float]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


class _Saved:
    """What autograd keeps for backward, counted by storage, weights aside."""

    def __init__(self, vlm: Vlm) -> None:
        self.weights = {parameter.untyped_storage().data_ptr() for parameter in vlm.model.parameters()}
        self.holders: Counter[int] = Counter()
        self.now = self.most = 0

    def change(self, tensor: Tensor, by: int) -> None:
        """One holder more of a tensor's storage, or one less."""
        storage = tensor.untyped_storage()
        place = storage.data_ptr()
        if place in self.weights:
            return
        self.holders[place] += by
        if self.holders[place] == (by > 0):  # the first, or none is left
            self.now += by * storage.nbytes()
            self.most = max(self.most, self.now)


class _Held:
    """A tensor for as long as autograd keeps it."""

    def __init__(self, tensor: Tensor, saved: _Saved) -> None:
        self.tensor, self.saved = tensor, saved
        saved.change(tensor, 1)

    def __del__(self) -> None:
        self.saved.change(self.tensor, -1)


def _saved_bytes(vlm: Vlm, run: Callable[[], float]) -> int:
    """Measure the most bytes that autograd keeps at any time of a step; also of layers that run again in backward."""
    saved = _Saved(vlm)
    with saved_tensors_hooks(lambda tensor: _Held(tensor, saved), lambda held: held.tensor):
        run()
    return saved.most


@contextmanager
def _checkpointing(vlm: Vlm) -> Iterator[None]:
    """Layers run again in backward; transformers calls it activation checkpointing from 5.23 on."""
    name = "activation" if hasattr(vlm.model, "activation_checkpointing_enable") else "gradient"
    getattr(vlm.model, f"{name}_checkpointing_enable")({"use_reentrant": True})
    try:
        yield
    finally:
        getattr(vlm.model, f"{name}_checkpointing_disable")()


def _session_ms(vlm: Vlm, method: SkipVision, times: int = 100) -> float:
    start = now()
    for _ in range(times):
        with method(vlm.model):
            pass
    return (now() - start) * 1000 / times


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `bench-train` to a command line."""
    parser = commands.add_parser("bench-train", help="what a training step with Skip-Vision costs, against dense")
    parser.add_argument("--seconds", type=float, default=60, help="to time each case in (default 60)")
    parser.add_argument("--output", type=Path, help="also write the record to this JSON file")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    command_line.check_folder(options.output)
    costs = []
    for cost in run_training_bench(options.seconds):
        costs.append(cost)
        print(f"{cost.tokens:,} tokens, {cost.method}: time {cost.time.median:.3f}, FLOPs {cost.flops:.3f}", flush=True)
    record = json.dumps(record_of(costs))
    print(f"\n{table_of_costs(costs)}\n\n{record}")
    if options.output:
        command_line.write_text(options.output, record + "\n")


def record_of(costs: list[StepCost]) -> dict[str, Any]:
    """Return the record of one run of the benchmark."""
    device = default_device(None)
    facts = device_facts([device], "bfloat16" if device.type == "cuda" else "float32")
    return {"benchmark": "training step", "device": facts, "versions": versions(), "cases": [asdict(c) for c in costs]}


def table_of_costs(costs: list[StepCost]) -> str:
    """Return the ratios as plain text, a row a case."""
    rows = [["Skip-Vision / dense", "tokens", "time (95%)", "FLOPs", "saved", "checkpointed", "session"]]
    for cost in costs:
        time = f"{cost.time.median:.3f} ({cost.time.low:.3f} to {cost.time.high:.3f})"
        ratios = [f"{ratio:.3f}" for ratio in (cost.flops, cost.saved, cost.checkpointed_saved)]
        rows.append([cost.method, f"{cost.tokens:,}", time, *ratios, f"{cost.session_ms:.2f} ms"])
    return "\n".join(columns(rows))
