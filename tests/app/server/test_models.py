"""The list of models: true for the one that is loaded, and chosen by the owner of the page."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_families import BUILDERS

from app.__main__ import run
from app.panels.models import HEAD, model_row
from app.server.models import BUILT_IN, BUILT_IN_FOLDER, KNOWN, VARIABLE, chosen_model, models_for, running_model
from skipcore import Vlm, load
from skipcore.families import FAMILIES


@pytest.mark.parametrize(
    "option, variable, chosen",
    [
        (None, None, str(BUILT_IN_FOLDER)),
        (BUILT_IN, "some/model", str(BUILT_IN_FOLDER)),
        (None, BUILT_IN, str(BUILT_IN_FOLDER)),
        (None, "", str(BUILT_IN_FOLDER)),
        (None, "some/model", "some/model"),
        ("a/folder", "some/model", "a/folder"),
    ],
)
def test_the_option_comes_before_the_environment(
    option: str | None, variable: str | None, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if variable is not None:
        monkeypatch.setenv(VARIABLE, variable)
    assert chosen_model(option) == chosen


def test_the_list_is_of_supported_families_with_the_smallest_first() -> None:
    assert {each.family for each in KNOWN} <= {family.name for family in FAMILIES}
    assert [each.weights for each in KNOWN] == sorted(each.weights for each in KNOWN)
    assert len({each.name for each in KNOWN}) == len(KNOWN)


def test_the_built_in_model_is_as_listed(scenes: Vlm) -> None:
    assert running_model(scenes) == KNOWN[0]
    facts = models_for(scenes)
    assert [each["runs_here"] for each in facts] == [True] + [False] * (len(KNOWN) - 1)
    assert [each["skipping"] for each in facts] == ["trained"] + [None] * (len(KNOWN) - 1)
    bytes_of_weights = sum(parameter.nbytes for parameter in scenes.model.parameters())
    assert facts[0]["gib_float32"] * 2**30 == bytes_of_weights == 2 * facts[0]["gib_bfloat16"] * 2**30


@pytest.mark.parametrize("family", ["SmolVLM", "Qwen3-VL", "InternVL"])
def test_a_model_of_ones_own_is_told_without_its_folder(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, processor = BUILDERS[family]()
    folder = tmp_path / "my-model"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    facts = models_for(load(chosen_model(str(folder))))
    assert len(facts) == len(KNOWN) + 1 and facts[0]["runs_here"]
    assert facts[0]["name"] == "my-model" and facts[0]["family"] == family and str(tmp_path) not in str(facts)
    assert facts[0]["weights"] == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", [KNOWN[1].name, "no/such-folder"])
def test_a_model_that_cannot_be_had_is_one_sentence(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, name)  # the tests are offline
    assert run([]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: The model {name!r} cannot be loaded: ") and said.count("\n") == 1


def test_too_little_memory_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=2**20))
    assert run(["--device", "cpu"]) == 2
    assert "or choose a model of at most" in capsys.readouterr().err


def test_rows_are_for_people(scenes: Vlm) -> None:
    rows = [model_row(each) for each in models_for(scenes)]
    assert all(len(row) == len(HEAD) for row in rows)
    assert rows[0] == ["built-in (runs here)", "LLaVA", "4.6 million", "9 MiB", "17 MiB", KNOWN[0].about]
    assert rows[-1][2:5] == ["7.06 billion", "13.2 GiB", "26.3 GiB"]
