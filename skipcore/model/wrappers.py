"""The transformers model inside what others wrap around it."""

from __future__ import annotations

import sys
from types import FrameType

from torch import nn
from transformers import PreTrainedModel

from skipcore.errors import InputError

COMPILE_LAYERS = "compile its layers instead (`for layer in model.get_decoder().layers: layer.compile()`)"


def stock_model(model: nn.Module) -> PreTrainedModel:
    """Look through wrappers that run the model as it is: PEFT's adapters, `DistributedDataParallel`, and `DataParallel`
    where it has one device at most.

    Raises:
        InputError: the wrapper runs something else than the model that hooks act on, or is unknown.
    """
    if hasattr(model, "_orig_mod"):
        raise InputError(
            f"torch.compile wraps this model, and compiled code passes hooks by: {COMPILE_LAYERS}, and give the model "
            "itself to the session."
        )
    if isinstance(model, PreTrainedModel):
        return model
    if isinstance(model, nn.parallel.DataParallel) and len(model.device_ids) > 1:
        raise InputError(
            "DataParallel runs copies of the model in several threads, which hooks cannot follow: wrap it in "
            "DistributedDataParallel, or give `model.module` to the session and run that."
        )
    if isinstance(model, nn.parallel.DataParallel | nn.parallel.DistributedDataParallel):
        return stock_model(model.module)
    if callable(base := getattr(model, "get_base_model", None)):  # PEFT
        if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
            raise InputError(
                "This adapter puts learned tokens before the prompt, so visual tokens are not where input_ids say: use "
                "the model without it in a session."
            )
        return stock_model(base())
    raise InputError(
        f"A session needs a transformers model, and {type(model).__name__} is none, nor a wrapper that it can look "
        "through (PEFT, DistributedDataParallel): give it the model inside, whole and on its own."
    )


def _is_compiled(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None


def check_recordable(layers: nn.ModuleList) -> None:
    """Refuse to record what compiled layers do: they may have been compiled without the hooks that record.

    Raises:
        InputError: says what to do.
    """
    if any(map(_is_compiled, layers)):
        raise InputError("Compiled layers do not record their updates: leave out record=True, or load the model again.")


def check_uncompiled(*modules: nn.Module) -> None:
    """Refuse modules that run as compiled code, which may have been compiled without hooks.

    Raises:
        InputError: says what to compile instead.
    """
    if any(map(_is_compiled, modules)):
        raise InputError(
            "This model or its decoder is compiled as a whole, and compiled code passes hooks by: load it again and "
            f"{COMPILE_LAYERS}."
        )


def check_uncompiled_caller() -> None:
    """Refuse to be called by compiled code: somewhere up the stack `torch.compile` has the whole model.

    Raises:
        InputError: says what to compile instead.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "compile_wrapper" and frame.f_globals.get("__name__") == "torch._dynamo.eval_frame":
            raise InputError(
                f"This model runs inside a function or model compiled as a whole: in a session {COMPILE_LAYERS}."
            )
        frame = frame.f_back
