"""What a method's prefill costs."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from skipcore.flops import FlopCount
from skipcore.methods import Method
from skipcore.model.vlm import Vlm

TYPICAL_QUESTION = "Is there a red circle to the left of the dog in this picture, or not?"
"""About twenty tokens of text with the rest of the prompt."""


@torch.inference_mode()
def prefill_flops(vlm: Vlm, method: Method) -> int:
    """FLOPs of the decoder's prefill for one picture and a question of typical length.

    The picture is encoded before counting; of the prompt only the last token is turned into logits.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((336, 336))
    prepared = vlm.prepare(picture, TYPICAL_QUESTION, method=method)
    with vlm.lock:
        inputs = prepared.with_features(vlm.encode(prepared, method))
        with method(vlm.model), FlopCount() as counter:
            vlm.model(**inputs, use_cache=True, logits_to_keep=1)
    return counter.total
