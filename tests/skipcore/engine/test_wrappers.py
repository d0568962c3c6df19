"""Sessions on models that something is wrapped around: looked through, or refused; never silently dense."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from family_methods import METHODS
from model_runs import hooks
from shared_models import noise_picture
from tiny_families import tiny_model
from torch import nn

from skipcore import Dense, InputError, Method, SkipVision
from skipcore.methods import DyMU

LORA = ("q_proj", "v_proj", "down_proj")
METHODS_ON_ADAPTERS: dict[str, Method] = {
    "masked": METHODS["masked"],
    "attention skipped, too": METHODS["attention skipped, too"],
    "DyMU": DyMU((0.5, 0.5)),
}
WAYS = ["generate", "forward"]


class Adapter(nn.Module):
    """A linear layer with a low-rank update, as PEFT puts it in its place."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.base_layer = linear
        self.lora_A = nn.ModuleDict({"default": nn.Linear(linear.in_features, 2, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(2, linear.out_features, bias=False)})

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.base_layer(states) + self.lora_B["default"](self.lora_A["default"](states))


class Tuner(nn.Module):
    """What stands between PEFT's wrapper and the model; calls its `forward` past the model's hooks."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.model.forward(*args, **kwargs)


class Adapted(nn.Module):
    """The shape of a `PeftModel`."""

    def __init__(self, model: nn.Module, learns_prompt: bool = False) -> None:
        super().__init__()
        self.base_model = Tuner(model)
        self.active_peft_config = types.SimpleNamespace(is_prompt_learning=learns_prompt)

    def get_base_model(self) -> nn.Module:
        return self.base_model.model

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.base_model(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.base_model.model, name)


def adapted(model: nn.Module) -> Adapted:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if name in LORA and isinstance(child, nn.Linear):
                setattr(parent, name, Adapter(child))
    return Adapted(model)


def adapted_by_peft(model: nn.Module) -> nn.Module:
    peft = pytest.importorskip("peft")
    return peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=list(LORA), init_lora_weights=False))


def run(model: nn.Module, inputs: dict, way: str) -> torch.Tensor:
    if way == "forward":
        with torch.no_grad():
            return model(**inputs).logits
    options = {"do_sample": False, "eos_token_id": -1, "return_dict_in_generate": True, "output_logits": True}
    return torch.stack(model.generate(**inputs, max_new_tokens=3, **options).logits)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # of peft
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("adapt", [adapted, adapted_by_peft], ids=["stand-in", "peft"])
@pytest.mark.parametrize("name", METHODS_ON_ADAPTERS)
@pytest.mark.parametrize("family", ["LLaVA", "Qwen2.5-VL"])
def test_a_session_on_adapters_is_one_on_the_model_inside(
    family: str, name: str, adapt: Callable[[nn.Module], Any], way: str
) -> None:
    """It skips as a session does on the model with the adapters merged into its weights."""
    vlm, method = tiny_model(family), METHODS_ON_ADAPTERS[name]
    inputs = vlm.prepare(noise_picture(0), "What?").inputs
    wrapper = adapt(copy.deepcopy(vlm.model)).eval()
    for parameter in wrapper.parameters():
        if parameter.shape[0] == 2 or (parameter.ndim > 1 and parameter.shape[1] == 2):
            parameter.data.normal_(0, 0.1)
    merged = copy.deepcopy(vlm.model)
    adapters = {each: layer for each, layer in wrapper.get_base_model().named_modules() if hasattr(layer, "lora_A")}
    for each, layer in adapters.items():
        scale = getattr(layer, "scaling", {"default": 1.0})["default"]
        update = layer.lora_B["default"].weight @ layer.lora_A["default"].weight * scale
        merged.get_submodule(each).weight.data += update.detach()
    dense = run(merged, inputs, way)
    with method(merged) as session:
        expected = run(merged, inputs, way)
    before = hooks(vlm)
    with method(wrapper) as wrapped:
        actual = run(wrapper, inputs, way)
    assert adapters and hooks(vlm) == before and not torch.allclose(actual, dense, atol=1e-3)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)
    assert torch.equal(wrapped.trace.ran_ffn, session.trace.ran_ffn)


def test_an_adapter_that_adds_tokens_is_refused() -> None:
    with pytest.raises(InputError, match="learned tokens"):
        SkipVision(0.2, 0.3)(Adapted(tiny_model("LLaVA").model, learns_prompt=True))


@pytest.fixture
def gloo(tmp_path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("wrapper", ["DistributedDataParallel", "DataParallel", "both", "around adapters"])
def test_parallel_wrappers_are_looked_through(gloo: None, wrapper: str) -> None:
    vlm, method = tiny_model("LLaVA"), SkipVision(0.2, 0.3)
    model = copy.deepcopy(vlm.model).requires_grad_(True)
    inputs = vlm.prepare(noise_picture(0), "What?").inputs
    with method(model):
        expected = run(model, inputs, "forward")
    wrapped: nn.Module = Adapted(model) if wrapper == "around adapters" else model
    if wrapper != "DataParallel":
        wrapped = nn.parallel.DistributedDataParallel(wrapped)
    if wrapper in ("DataParallel", "both"):
        wrapped = nn.DataParallel(wrapped)
    with method(wrapped) as session:
        assert torch.equal(run(wrapped, inputs, "forward"), expected)
    assert session.model is model and session.trace.kv_tokens.tolist() == session.trace.in_cache.sum(dim=1).tolist()


def test_gradients_under_distributed_training_are_those_of_the_model(gloo: None) -> None:
    vlm, method = tiny_model("LLaVA"), SkipVision(0.2, 0.3)
    model = copy.deepcopy(vlm.model).requires_grad_(True).train()
    inputs = vlm.prepare(noise_picture(0), "What?").inputs
    wrapped, found = nn.parallel.DistributedDataParallel(model), []
    for each in (model, wrapped):
        model.zero_grad()
        with method(each):
            each(**inputs, labels=inputs["input_ids"]).loss.backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient)


def test_copies_in_threads_are_refused(monkeypatch) -> None:
    """`DataParallel` on several devices runs replicas that share the hooks of the model."""
    vlm, method = tiny_model("LLaVA"), SkipVision(0.2, 0.3)
    parallel = nn.DataParallel(vlm.model)
    monkeypatch.setattr(parallel, "device_ids", [0, 1])
    with pytest.raises(InputError, match="DataParallel"):
        method(parallel)
    replica = vlm.model.get_decoder()._replicate_for_data_parallel()
    inputs = vlm.prepare(noise_picture(0), "What?").inputs
    with method(vlm.model):
        replica_hooked = vlm.model.get_decoder()._replicate_for_data_parallel()
        with pytest.raises(InputError, match="copy of the model"):
            replica_hooked(inputs_embeds=vlm.model.get_input_embeddings()(inputs["input_ids"]))
    assert not replica._forward_hooks


@pytest.mark.parametrize("what", ["unknown wrapper", "nothing of ours", "Vlm"])
def test_anything_else_is_refused(what: str) -> None:
    vlm = tiny_model("LLaVA")
    given = {"unknown wrapper": Tuner(vlm.model), "nothing of ours": nn.Linear(2, 2), "Vlm": vlm}[what]
    with pytest.raises(InputError, match=f"{type(given).__name__} is none"):
        Dense()(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("outer", ["model", "wrapper", "container"])
@pytest.mark.parametrize("inner", ["model", "wrapper", "container"])
def test_one_session_at_a_time_however_the_model_is_given(outer: str, inner: str) -> None:
    model = tiny_model("LLaVA").model
    given = {"model": model, "wrapper": Adapted(model), "container": model.base_model}
    with Dense()(given[outer]), pytest.raises(InputError, match="in a session already"), Dense()(given[inner]):
        pass


def test_a_session_entered_in_another_thread_is_refused_too() -> None:
    vlm = tiny_model("LLaVA")
    with Dense()(vlm.model), ThreadPoolExecutor(1) as pool:
        entering = pool.submit(SkipVision(0.2, 0.3)(vlm.model).__enter__)
        with pytest.raises(InputError, match="in a session already"):
            entering.result()


def test_a_model_may_be_moved_inside_a_session() -> None:
    """Another number format, and back; the method's summary must come along."""
    vlm = tiny_model("LLaVA")
    model, inputs = copy.deepcopy(vlm.model), vlm.prepare(noise_picture(0), "What?").inputs
    with SkipVision(0.2, 0.3)(model):
        expected = run(model, inputs, "forward")
        model.double()
        in_double = run(model, inputs | {"pixel_values": inputs["pixel_values"].double()}, "forward")
        torch.testing.assert_close(in_double.float(), expected, rtol=0, atol=1e-3)
        model.float()
        torch.testing.assert_close(run(model, inputs, "forward"), expected, rtol=0, atol=1e-5)
