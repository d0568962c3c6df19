"""load(): a model from a folder or from the Hub, or one plain sentence that says why not."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import is_flash_attn_2_available

from skipcore.calibration.choice import CALIBRATION_FILE, Calibration, load_calibration
from skipcore.errors import InputError
from skipcore.families import Family, family_of
from skipcore.model.hardware import free_bytes
from skipcore.model.processing import complete
from skipcore.model.saved_method import load_method
from skipcore.model.vlm import Vlm

GIB = 2**30
FAILURES = (OSError, ValueError, ImportError, KeyError, RuntimeError, AttributeError, TypeError, SafetensorError)


def load(
    name: str | Path,
    *,
    revision: str | None = None,
    device: str | torch.device | Mapping[str, Any] | None = None,
    dtype: str | torch.dtype = "auto",
    attention: str = "auto",
    calibration: str | Path | Calibration | None = None,
) -> Vlm:
    """Load a model from a folder or from the Hub. Downloads and loading show a progress bar.

    Args:
        name: a folder written by `save_pretrained`, or a Hub id. Remote code is never run; safetensors only. A folder
            of adapters (PEFT) is merged into the model that it names; method and processor are the folder's own.
        revision: branch, tag or commit of a Hub model.
        device: default: "cuda" if there is one, otherwise "cpu". "auto" spreads the model over all GPUs, then the CPU,
            then the disk, by accelerate; so does a `device_map` of your own.
        dtype: default: the dtype of the checkpoint on a GPU; float32 on the CPU, where half precision is slow.
        attention: of runs without skipping (skipping attends by sdpa): "auto" takes FlashAttention where it is
            installed and can be used, otherwise sdpa where the model has it, otherwise eager; or a name that
            transformers knows.
        calibration: what `calibrate` found, or its file; default: `calibration.json` of the folder, if it is there.

    Raises:
        InputError: the model cannot be found or read, does not fit into memory, its family is not supported, there is
            no such dtype, or the calibration cannot be read or is of a model with another number of layers.
    """
    name = str(name)
    folder = Path(name) if Path(name).is_dir() else None
    if calibration is None and folder is not None and (folder / CALIBRATION_FILE).is_file():
        calibration = folder / CALIBRATION_FILE
    if isinstance(calibration, str | Path):
        calibration = load_calibration(calibration)  # before the weights are fetched
    base = None if folder is None else _base_of(folder)
    weights = base or name
    try:
        spread = device == "auto" or isinstance(device, Mapping)
        target = default_device(device)
        wanted = torch.float32 if dtype == "auto" and target.type == "cpu" else _checked_dtype(dtype)
        source: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
        config = AutoConfig.from_pretrained(weights, **source)
        family = family_of(config)
        _check_package(family)
        if not spread:
            _check_memory(weights, config, _resolved(wanted, config), target)
        has_processor = base is None or Path(name, "processor_config.json").is_file()
        processor = AutoProcessor.from_pretrained(name if has_processor else weights, **source)
        complete(processor, config)
        offload = tempfile.mkdtemp(prefix="skipcore-offload-") if spread else None
        model = AutoModelForImageTextToText.from_pretrained(
            weights,
            **source,
            dtype=wanted,
            use_safetensors=True,
            attn_implementation=_attention(attention, _resolved(wanted, config), target),
            device_map=device if spread else None,
            offload_folder=offload,
        )
        if base is not None:
            model = _with_adapters(model, name)
        if offload is not None:
            weakref.finalize(model, shutil.rmtree, offload, ignore_errors=True)
        model = (model if spread else model.to(target)).eval().requires_grad_(False)
    except InputError:
        raise
    except FAILURES as error:
        raise InputError(why_not_loaded(name, revision, error)) from error
    method = None if folder is None else load_method(folder)
    vlm = Vlm(model, processor, family, folder.name if folder else name, method, calibration)
    if method is not None and method.summary is not None:
        method.summary.to(vlm.device)
    return vlm


def _base_of(folder: Path) -> str | None:
    """The model that a folder of adapters belongs to; None for a folder that holds a model itself.

    Raises:
        InputError: PEFT is not installed, or the folder names no model.
    """
    adapters = folder / "adapter_config.json"
    if not adapters.is_file() or (folder / "config.json").is_file():
        return None
    if find_spec("peft") is None:
        raise InputError(f"The folder {str(folder)!r} holds adapters, which need another package: pip install peft")
    try:
        return str(json.loads(adapters.read_text())["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{adapters} does not say which model the adapters belong to.") from error


def _with_adapters(model: PreTrainedModel, folder: str) -> PreTrainedModel:
    """A model with adapters merged into its weights: nothing is left that would run beside them."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, folder).merge_and_unload()


def default_device(device: str | torch.device | Mapping[str, Any] | None) -> torch.device:
    """The device that is meant, or the first of several."""
    if device is None or device == "auto" or isinstance(device, Mapping):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def _checked_dtype(dtype: str | torch.dtype) -> str | torch.dtype:
    """A dtype, also by its name; "auto" as it is.

    Raises:
        InputError: there is no such floating-point dtype.
    """
    if dtype == "auto":
        return dtype
    found = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise InputError(f'There is no dtype {dtype!r} for weights: take "auto", "bfloat16", "float16" or "float32".')
    return found


def _resolved(dtype: str | torch.dtype, config: PreTrainedConfig) -> torch.dtype:
    """The dtype that the weights will have: "auto" is that of the checkpoint."""
    if dtype == "auto":
        dtype = getattr(config, "dtype", None) or config.get_text_config().dtype or torch.float32
    return getattr(torch, dtype.removeprefix("torch.")) if isinstance(dtype, str) else dtype


def _attention(attention: str, dtype: torch.dtype, target: torch.device) -> str | None:
    """None leaves the choice between sdpa and eager to transformers."""
    if attention != "auto":
        return attention
    can_flash = target.type == "cuda" and dtype in (torch.float16, torch.bfloat16) and is_flash_attn_2_available()
    return "flash_attention_2" if can_flash else None


def _check_package(family: Family) -> None:
    if family.extra is not None and find_spec(family.extra) is None:
        raise InputError(f"Models of the family {family.name} need another package: pip install {family.extra}")


def _check_memory(name: str, config: PreTrainedConfig, dtype: torch.dtype, target: torch.device) -> None:
    """Whether the weights fit, before they are read (and downloaded)."""
    try:
        with torch.device("meta"):
            weights = sum(p.numel() for p in AutoModelForImageTextToText.from_config(config).parameters())
    except Exception:  # some model cannot be built without memory: then loading itself says why
        return
    needed = weights * dtype.itemsize
    free = free_bytes(target)
    if needed <= free:
        return
    advice = ['device="auto" spreads it over GPUs, CPU and disk']
    if dtype.itemsize > 2:
        advice.insert(0, f'dtype="bfloat16" takes {weights * 2 / GIB:,.1f} GiB')
    raise InputError(
        f"The weights of {name!r} take {needed / GIB:,.1f} GiB as {str(dtype).removeprefix('torch.')}, but {target} "
        f"has {free / GIB:,.1f} GiB free: {', '.join(advice)}, or choose a model of at most "
        f"{free / dtype.itemsize / 1e9:,.1f} billion weights."
    )


def why_not_loaded(name: str, revision: str | None, error: Exception) -> str:
    """What went wrong with a folder or the Hub, and what to do about it, in a sentence."""
    chain = list(_chain(error))

    def is_any(*kinds: type[BaseException]) -> bool:
        return any(isinstance(each, kinds) for each in chain)

    what = f"The model {name!r} cannot be loaded"
    if is_any(GatedRepoError):
        return f"{what}: it is gated. Ask for access on https://huggingface.co/{name}, then run `hf auth login`."
    if is_any(RevisionNotFoundError):
        return f"{what}: it has no revision {revision!r}; look at https://huggingface.co/{name}/commits."
    if is_any(RepositoryNotFoundError):
        return f"{what}: there is no such model on the Hub, or it is private; check the id, or run `hf auth login`."
    if (
        is_any(LocalEntryNotFoundError, ConnectionError, TimeoutError, socket.gaierror)
        or "couldn't connect" in str(error).lower()
    ):
        return f"{what}: there is no such folder, and the Hub cannot be reached. Check the path, or the network."
    if is_any(torch.cuda.OutOfMemoryError):
        return f'{what}: the GPU has too little memory. Pass device="auto", dtype="bfloat16", or a smaller model.'
    if is_any(SafetensorError):
        return f"{what}: its weights are damaged ({_first_line(error)}); delete them and fetch them again."
    return f"{what}; check the folder or Hub id, device, dtype and attention: {_first_line(error)}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
