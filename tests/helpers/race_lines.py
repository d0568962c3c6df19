"""Records of a race made by hand: two data sets, a few methods, and right answers as the tests want them."""

from __future__ import annotations

from typing import Any

HEADER: dict[str, Any] = {
    "kind": "sweep",
    "model": "hand-made",
    "model_sha256": "0" * 64,
    "dtype": "float32",
    "max_new_tokens": 4,
    "skipping": {"source": "trained", "settings": {}},
    "device": {"name": "a CPU", "kind": "cpu", "dtype": "float32", "attention": "sdpa", "threads": 2},
    "versions": {"python": "3", "torch": "2", "transformers": "5"},
    "date": "2026-01-02T03:04:05+00:00",
}


def data(name: str = "made", questions: int = 40, has_truth: bool = True) -> dict[str, Any]:
    blind = 0.1 if has_truth else None
    return {"kind": "data", "data": name, "fingerprint": "f", "questions": questions, "pictures": questions // 4,
            "has_truth": has_truth, "blind": blind}  # fmt: skip


def choice(method: str, budget: float | None, flops: float) -> dict[str, Any]:
    label = {"SkipVision": "Skip-Vision"}.get(method, method)
    return {"kind": "choice", "key": f"{method}-{budget}", "method": method, "label": label, "settings": {},
            "budget": budget, "flops": flops}  # fmt: skip


def quality(method: str, budget: float | None, right: str, name: str = "made", chunk: int = 0) -> dict[str, Any]:
    """`right` with a mark for each question; four to a picture."""
    marks = " ".join(right[first : first + 4] for first in range(0, len(right), 4))
    return {"kind": "quality", "key": f"{method}-{budget}", "data": name, "chunk": chunk, "right": marks, "same": marks,
            "kl": 0.5 * len(right), "top1": 0.75 * len(right)}  # fmt: skip


def cost(methods: dict[str, dict[str, Any]], name: str = "made", prompt: int = 0) -> dict[str, Any]:
    """Costs of some methods, by their keys, each told what differs from the dense ones."""
    dense = {"flops_ratio": 1.0, "scoring_flops_ratio": 0.0, "vision_ms": 10.0, "prefill_ms": 20.0, "tpot_ms": 2.0,
             "spread": {"prefill_ms": {"min": 19.0, "max": 22.0}}, "scoring_ms": 0.0, "kv_bytes": 1000,
             "peak_memory_bytes": None}  # fmt: skip
    return {"kind": "cost", "data": name, "prompt": prompt, "question": "?", "device": HEADER["device"], "repeats": 3,
            "date": HEADER["date"], "unavailable": {"peak_memory_bytes": "the runs were on the CPU"},
            "methods": {key: dense | changes for key, changes in methods.items()}}  # fmt: skip
