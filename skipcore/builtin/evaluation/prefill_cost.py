"""What a method's prefill costs."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from transformers.modeling_outputs import BaseModelOutputWithPooling

from skipcore.builtin.evaluation.many_answers import prompt_ids
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
    values = vlm.processor.image_processor(images=[picture], return_tensors="pt")["pixel_values"]
    values = values.to(vlm.device, vlm.model.dtype)
    features = vlm.model.get_image_features(pixel_values=values, return_dict=True).pooler_output
    ids = torch.tensor([prompt_ids(vlm, TYPICAL_QUESTION, len(features[0]))], device=vlm.device)
    with vlm.lock, method(vlm.model), FlopCount() as counter:
        vlm.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_encoder_outputs={"image": BaseModelOutputWithPooling(pooler_output=list(features))},
            use_cache=True,
            logits_to_keep=1,
        )
    return counter.total
