"""Small reports made by hand: a picture of 2 × 3 tokens, dense and with 2 retained, 2 skipped and 2 merged ones."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image

from profiling import Arm, Report, Spread
from profiling.predict.roofs import Roof
from profiling.predict.work import Work
from profiling.report import AnswerAgreement, savings_of
from skipcore import Trace
from skipcore.model.vlm import ShownTile
from skipcore.plan.image_plan import ImagePlan
from skipcore.plan.tiles import PlacedPicture, Tile
from skipcore.plan.token_plan import plan_sample
from skipcore.trace import trace_of

NAN = float("nan")
LAYERS = 3
GRID = (2, 3)
# tokens 0 and 5 are retained; 1 and 4 are skipped; 2 is merged into 1, and 3 into 4
SKIPPING = ImagePlan(
    retained=torch.tensor([0, 5]),
    skipped=torch.tensor([1, 4]),
    destination=torch.tensor([0, 2, 2, 3, 3, 1]),
)
DENSE = ImagePlan.keep_all(6)
WHOLE = ShownTile(GRID, (0.0, 0.0, 1.0, 1.0))


def trace(plan: ImagePlan, pictures: int = 1, recorded: bool = True) -> Trace:
    """The trace of one text token, then each picture, then two text tokens."""
    visual = torch.tensor([False] + [True] * 6 * pictures + [False] * 2)
    places = visual.nonzero().flatten().split(6)
    placed = [PlacedPicture((Tile(GRID),), positions) for positions in places]
    sample = plan_sample(torch.ones_like(visual), placed, [plan] * pictures, LAYERS)
    update = None
    if recorded:
        slots = len(sample.slot_role)
        update = (torch.arange(LAYERS)[:, None] + 1) * 0.1 + torch.arange(slots) * 0.01
        update = torch.where(sample.runs_ffn, update, NAN)
    kept = sample.in_cache.sum(dim=1)
    return trace_of(sample, visual, update, None, kept, kept * 64)


def arm(name: str, its_trace: Trace, faster: float = 1.0, **changes: Any) -> Arm:
    """An arm whose times are those of a made-up dense run divided by `faster`."""
    assert its_trace.kv_bytes is not None and its_trace.kv_tokens is not None
    layer_bytes = tuple(its_trace.kv_bytes.tolist())
    values: dict[str, Any] = {
        "name": name,
        "settings": {},
        "answer": "a red <circle>",
        "new_tokens": 5,
        "vision_ms": 40.0,
        "prefill_ms": 60.0 / faster,
        "ttft_ms": 40.0 + 60.0 / faster,
        "tpot_ms": 4.0,
        "decode_tokens_per_s": 250.0,
        "token_ms": (60.0 / faster, 4.0, 4.0, 4.0, 4.0),
        "kv_tokens": float(its_trace.kv_tokens.float().mean()),
        "kv_bytes": sum(layer_bytes),
        "kv_bytes_predicted": sum(layer_bytes),
        "layer_kv_bytes": layer_bytes,
        "layer_kv_bytes_predicted": layer_bytes,
        "flops_prefill": int(1e9 / faster**2),
        "flops_prefill_predicted": int(1e9 / faster**2),
        "peak_memory_bytes": None,
        "energy_j": None,
        "spread": {
            "vision_ms": Spread.of([39.0, 40.0, 44.0]),
            "prefill_ms": Spread.of([59.0 / faster, 60.0 / faster, 66.0 / faster]),
            "ttft_ms": Spread.of([99.0, 100.0, 101.0]),
            "tpot_ms": Spread.of([3.9, 4.0, 4.3]),
        },
        "trace": its_trace,
        "run_token_ms": tuple((60.0 / faster, 4.0 + run, 4.0, 5.0, 3.0 + run) for run in range(3)),
        "prefill_work": Work(1e9 / faster**2, 4e6, 1e6, 5e6),
        "decode_work": Work(4e6, 4e6, 1e6, 1e4),
    }
    return Arm(**(values | changes))


def report(*arms: Arm, pictures: int = 1) -> Report:
    """A report of the arms; by default dense and a Skip-Vision twice as fast."""
    arms = arms or (
        arm("Dense", trace(DENSE, pictures)),
        arm("Skip-Vision 2+2", trace(SKIPPING, pictures), faster=2.0),
    )
    return Report(
        device={"name": "a CPU", "kind": "cpu", "dtype": "float32", "attention": "sdpa", "threads": 2},
        versions={"python": "3", "torch": "2", "transformers": "5"},
        model="hand-made",
        question="What is it?",
        max_new_tokens=5,
        repeats=3,
        warmup_runs=1,
        tiles=((WHOLE,),) * pictures,
        prompt_tokens=9,
        arms=arms,
        savings={each.name: savings_of(each, arms[0]) for each in arms[1:]},
        agreement={each.name: AnswerAgreement(0.0125, 0.8, 5, 3) for each in arms[1:]},
        unavailable={"energy_j": "the runs were on the <CPU>"},
        pictures=tuple(Image.new("RGB", (60, 40), (200, 30, 30 * n)) for n in range(pictures)),
        roof=Roof(6e10, 5e9, "made up for <tests>"),
    )


def under(plain: Image.Image, marks: Image.Image) -> Image.Image:
    """A picture under its marks, as the browser shows them."""
    over = marks.convert("RGBA").resize(plain.size, Image.Resampling.NEAREST)
    return Image.alpha_composite(plain.convert("RGBA"), over).convert("RGB")
