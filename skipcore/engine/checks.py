"""What a session refuses, in a sentence that says what to do instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from skipcore.engine.cache import wants_cache
from skipcore.errors import InputError
from skipcore.model.hardware import input_device
from skipcore.plan.summary import AdaptiveSummary


def check_summary(summary: AdaptiveSummary | None, model: PreTrainedModel) -> None:
    """Refuse a summary that does not fit the model.

    Raises:
        InputError: it is made for another hidden size, or on another device.
    """
    if summary is None:
        return
    (width,), hidden_size = summary.norm.normalized_shape, model.get_decoder().config.hidden_size
    if width != hidden_size:
        raise InputError(
            f"The method's summary is made for a hidden size of {width}, but the model has {hidden_size}: use an "
            "AdaptiveSummary of that size, or none."
        )
    if (device := summary.score.weight.device) != (own := input_device(model)):
        raise InputError(f"The method's summary is on {device}, but the model on {own}: move one.")


def check_prefill(model: PreTrainedModel, inputs: Mapping[str, Any], kwargs: dict[str, Any], real: Tensor) -> None:
    """Refuse what a laid-out prefill would ignore.

    Args:
        inputs: what the model was given.
        kwargs: what its decoder was given.
        real: [batch, prompt] bool, False where there is padding.

    Raises:
        InputError: attention matrices are wanted, or a row holds several packed sequences.
    """
    decoder = model.get_decoder()
    check_attentions(model.config, kwargs)
    positions = kwargs.get("position_ids")
    lengths = [name for name in ("cu_seq_lens_q", "cu_seq_lens_k", "seq_idx") if kwargs.get(name) is not None]
    if lengths or (positions is not None and _begins_anew(positions, real, _isolates(decoder, inputs, kwargs))):
        raise InputError(
            "Several sequences are packed into one row: give each a row of its own, padded. Skipping does not keep "
            "packed sequences apart."
        )


def check_attentions(config: PreTrainedConfig, kwargs: dict[str, Any]) -> None:
    """Asked for by keyword, or in the config of the model or of its decoder."""
    asked = kwargs.get("output_attentions")
    if asked or (asked is None and any(each.output_attentions for each in (config, config.get_text_config()))):
        raise InputError(
            "Skipping makes no attention matrices to return: leave out output_attentions, or ask for them of the dense "
            "model."
        )


def _isolates(decoder: PreTrainedModel, inputs: Mapping[str, Any], kwargs: dict[str, Any]) -> bool:
    """Whether the stock decoder would keep sequences apart wherever positions do not go on by one: without a mask and
    without a cache (`transformers.masking_utils.find_packed_sequence_indices`)."""
    return inputs.get("attention_mask") is None and not wants_cache(decoder, kwargs)


def _begins_anew(position_ids: Tensor, real: Tensor, isolates: bool) -> bool:
    """Whether positions [..., batch or 1, prompt] go back, or do not go on by one where that `isolates`. Of M-RoPE
    [3 or 4, batch or 1, prompt] the text's positions count, where there are some; else those in time, which may go back
    after a video, but not to where the prompt began."""
    axes = 1 if position_ids.ndim == 2 else len(position_ids)
    own = position_ids.reshape(axes, -1, position_ids.shape[-1])[0].cpu().expand(len(real), -1)
    steps, within = own.diff(dim=1), real[:, 1:] & real[:, :-1]
    if axes == 3:
        first = own.gather(1, real.long().argmax(dim=1, keepdim=True))
        return bool((within & (steps < 0) & (own[:, 1:] <= first)).any())
    return bool((within & ((steps != 1) if isolates else (steps < 0))).any())
