"""What the preset of untrained models saves in every family: tiny models of the real classes with real processors.

Run as `PYTHONPATH=.:tests/helpers python tests/bench_families.py`. FLOPs, KV bytes and kernels are counted, so one run
is enough; the last line is the record as JSON.
"""

from __future__ import annotations

import json

import torch
import transformers
from shared_models import noise_picture
from tiny_families import BUILDERS, tiny_model

from profiling.bench.dispatch import KernelCount
from profiling.output.table import columns
from skipcore import Dense, Method, Vlm
from skipcore.flops import FlopCount
from skipcore.model.hardware import versions
from skipcore.model.preset import PRESET
from skipcore.model.vlm import Prepared

LAYERS = 8
"""Deep enough for the preset's stages to fall where they do in a model that people load."""
PICTURE = 300, 200


def asked(vlm: Vlm) -> Prepared:
    """A short question about four pictures."""
    return vlm.prepare([noise_picture(number, *PICTURE) for number in range(4)], "?")


def visual_share(vlm: Vlm) -> float:
    """Of the prompt's tokens, those that are visual."""
    prepared = asked(vlm)
    return vlm.num_visual_tokens(prepared) / prepared.num_tokens


@torch.inference_mode()
def costs(vlm: Vlm, method: Method) -> tuple[int, int, int]:
    """FLOPs of the decoder's prefill, KV bytes after it, and kernels."""
    prepared = asked(vlm)
    inputs = prepared.with_features(vlm.encode(prepared))
    with method(vlm.model) as session, FlopCount() as flops, KernelCount() as kernels:
        vlm.model(**inputs, use_cache=True, logits_to_keep=1)
    assert session.trace.kv_bytes is not None
    return flops.total, int(session.trace.kv_bytes.sum()), kernels.total


def record_of(family: str) -> dict[str, float | str]:
    """Shares of the dense model."""
    vlm = tiny_model(family, LAYERS)
    dense, own = costs(vlm, Dense()), costs(vlm, PRESET)
    flops, kv, kernels = (round(mine / theirs, 3) for mine, theirs in zip(own, dense, strict=True))
    return {
        "family": family,
        "visual_share": round(visual_share(vlm), 3),
        "flops": flops,
        "kv_bytes": kv,
        "kernels": kernels,
    }


def main() -> None:
    """Print the table, and the record in the last line."""
    transformers.logging.set_verbosity_error()
    records = [record_of(family) for family in BUILDERS]
    header = ["Preset / dense", "visual tokens of the prompt", "prefill FLOPs", "KV bytes", "kernels"]
    print("\n".join(columns([header, *(list(map(str, record.values())) for record in records)])))
    print(json.dumps({"benchmark": "preset", "method": PRESET.label, "versions": versions(), "families": records}))


if __name__ == "__main__":
    main()
