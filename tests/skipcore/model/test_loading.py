"""Loading: every family from a folder, over several devices, and one sentence for whatever is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import torch
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from model_runs import hooks, logits
from shared_models import noise_picture
from tiny_families import BUILDERS, tiny_model
from transformers import PreTrainedModel

from skipcore import Dense, InputError, Method, SkipVision, Vlm, ask, calibrate, load
from skipcore.model import hardware
from skipcore.model import load as loading

METHODS: list[Method] = [Dense(), SkipVision(0.2, 0.3), SkipVision(0.2, 0.3, attention_layers=(1,))]
RESPONSE = httpx.Response(403, request=httpx.Request("GET", "https://huggingface.co"))


def saved(name: str, folder: Path) -> Vlm:
    vlm = tiny_model(name)
    vlm.model.save_pretrained(folder)
    vlm.processor.save_pretrained(folder)
    return vlm


@pytest.mark.parametrize("name", BUILDERS)
def test_a_saved_model_loads_and_says_the_same(name: str, tmp_path: Path) -> None:
    before, after = saved(name, tmp_path), load(tmp_path)
    inputs = [vlm.prepare(noise_picture(1), "What is it?").inputs for vlm in (before, after)]
    for method in METHODS:
        with method(before.model):
            expected = logits(before, inputs[0])
        with method(after.model):
            torch.testing.assert_close(logits(after, inputs[1]), expected, rtol=0, atol=1e-6)
    assert after.skipping_source == "preset" and after.skip_vision.layers == (2,)


@pytest.mark.parametrize("name", ["LLaVA", "Qwen3-VL", "SmolVLM", "Gemma 3"])
def test_a_model_spread_over_memory_and_disk_says_the_same(name: str, tmp_path: Path) -> None:
    vlm = saved(name, tmp_path)
    modules = dict(vlm.model.named_modules())
    away = next(path for path, module in modules.items() if module is vlm.model.get_decoder().layers[1])
    around = {path for path in modules if away.startswith(f"{path}.") or not path}
    places = {path: "cpu" for path in modules if path not in around and path.rpartition(".")[0] in around}
    spread = load(tmp_path, device=places | {away: "disk"})
    assert any(parameter.is_meta for parameter in spread.model.parameters())
    inputs = vlm.prepare(noise_picture(1), "What is it?").inputs
    for method in METHODS:
        with method(vlm.model):
            expected = logits(vlm, inputs)
        logits(spread, inputs)  # the first forward of all installs hooks of transformers' own
        before = hooks(spread)
        with method(spread.model) as session:
            torch.testing.assert_close(logits(spread, inputs), expected, rtol=0, atol=1e-6)
        assert hooks(spread) == before and session.trace.kv_bytes is not None
        assert ask(spread, noise_picture(1), "What?", method, 4) == ask(vlm, noise_picture(1), "What?", method, 4)


def test_auto_spreads_a_model(tmp_path: Path) -> None:
    saved("LLaVA", tmp_path)
    spread = load(tmp_path, device="auto")
    assert ask(spread, noise_picture(1), "What?", METHODS[1], 4)


def test_attention_can_be_chosen(tmp_path: Path) -> None:
    saved("LLaVA", tmp_path)
    assert load(tmp_path, attention="eager").model.get_decoder().config._attn_implementation == "eager"
    assert load(tmp_path).model.get_decoder().config._attn_implementation == "sdpa"


def test_a_calibrated_model_skips_as_calibrated(tmp_path: Path) -> None:
    vlm = saved("LLaVA", tmp_path)
    found = calibrate(vlm, [noise_picture(1)], "What?", 0.7, rules=["VisionZip"], answer_tokens=2)
    assert load(tmp_path, calibration=found).skipping == found.method
    found.save(tmp_path / "elsewhere.json")
    assert load(tmp_path, calibration=tmp_path / "elsewhere.json").skipping == found.method
    found.save(tmp_path / "calibration.json")
    again = load(tmp_path)
    assert again.calibration == found and again.skipping_source == "calibrated"


# What is wrong, in one sentence


@pytest.mark.parametrize(
    "error, says",
    [
        (GatedRepoError("gated", response=RESPONSE), "gated. Ask for access"),
        (RepositoryNotFoundError("404", response=RESPONSE), "no such model on the Hub"),
        (RevisionNotFoundError("404", response=RESPONSE), "no revision 'v9'"),
        (ConnectionError("no route"), "Hub cannot be reached"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), 'device="auto"'),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_hub_refuses(error: Exception, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("Something long about the Hub") from error

    monkeypatch.setattr(loading.AutoConfig, "from_pretrained", fail)
    with pytest.raises(InputError, match=says):
        load("someone/model", revision="v9")


def test_a_model_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved("LLaVA", tmp_path)
    memory = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(hardware.psutil, "virtual_memory", lambda: memory)
    with pytest.raises(InputError, match=r'GiB free: dtype="bfloat16" takes .* GiB, device="auto" spreads'):
        load(tmp_path)


def test_a_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved("SmolVLM", tmp_path)
    monkeypatch.setattr(loading, "find_spec", lambda package: None)
    with pytest.raises(InputError, match="pip install num2words"):
        load(tmp_path)


def test_a_model_that_is_not_there_gets_a_sentence(tmp_path: Path) -> None:
    for name in ("nobody/no-such-model", str(tmp_path), "not a name!"):
        with pytest.raises(InputError, match="cannot be loaded"):
            load(name)


@pytest.mark.parametrize("damage", ["cut short", "other shapes", "no such device"])
def test_a_model_that_cannot_be_read_gets_a_sentence(tmp_path: Path, damage: str) -> None:
    saved("LLaVA", tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    options = {}
    if damage == "cut short":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "other shapes":
        config.write_text(config.read_text().replace('"hidden_size": 32', '"hidden_size": 64'))
    else:
        options = {"device": "abacus"}
    with pytest.raises(InputError, match="cannot be loaded") as error:
        load(tmp_path, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", ["float33", "int8", "nn", "", 16, torch.int32])
def test_a_dtype_that_is_none_gets_a_sentence(tmp_path: Path, dtype: Any) -> None:
    saved("LLaVA", tmp_path)
    with pytest.raises(InputError, match=re.escape(f"There is no dtype {dtype!r} for weights: take")):
        load(tmp_path, dtype=dtype)


@pytest.mark.parametrize("dtype", ["bfloat16", "torch.bfloat16", torch.bfloat16])
def test_a_dtype_by_its_name(tmp_path: Path, dtype: Any) -> None:
    saved("LLaVA", tmp_path)
    assert load(tmp_path, dtype=dtype).model.dtype == torch.bfloat16


class ReadyToLoad(Exception):
    """Carries what a model would have been loaded with."""


@pytest.mark.parametrize(
    "dtype, of_checkpoint, chosen",
    [
        ("auto", torch.bfloat16, "flash_attention_2"),
        ("auto", torch.float16, "flash_attention_2"),
        ("auto", torch.float32, None),
        ("bfloat16", torch.float32, "flash_attention_2"),
        ("torch.float16", torch.float32, "flash_attention_2"),
        (torch.bfloat16, torch.float32, "flash_attention_2"),
        ("float32", torch.bfloat16, None),
    ],
)
@pytest.mark.parametrize("installed", [True, False])
def test_flash_attention_is_taken_where_it_can_be_used(
    tmp_path: Path, monkeypatch, dtype: Any, of_checkpoint: torch.dtype, chosen: str | None, installed: bool
) -> None:
    vlm = saved("LLaVA", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for part in (config, config["text_config"], config["vision_config"]):
        part["dtype"] = str(of_checkpoint).removeprefix("torch.")
    (tmp_path / "config.json").write_text(json.dumps(config))

    def given(*args: Any, **options: Any) -> None:
        raise ReadyToLoad(options["attn_implementation"])

    monkeypatch.setattr(loading, "is_flash_attn_2_available", lambda: installed)
    monkeypatch.setattr(loading, "free_bytes", lambda device: 2**40)
    monkeypatch.setattr(loading.AutoModelForImageTextToText, "from_pretrained", given)
    with pytest.raises(ReadyToLoad) as ready:
        load(tmp_path, device="cuda", dtype=dtype)
    assert ready.value.args == (chosen if installed else None,)
    assert vlm.model.dtype == torch.float32


@pytest.mark.parametrize("family", BUILDERS)
def test_every_family_has_flash_attention(family: str) -> None:
    parts = [module for module in tiny_model(family).model.modules() if isinstance(module, PreTrainedModel)]
    assert all(part._supports_flash_attn for part in parts)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    vlm = saved("LLaVA", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(vlm.model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load(tmp_path)


def test_an_unsupported_family(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(InputError, match=r"'gpt2' are not supported; choose one of: LLaVA \(llava\)"):
        load(tmp_path)
