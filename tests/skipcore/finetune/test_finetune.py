"""`python -m skipcore finetune …` from end to end, on a tiny model and a LLaVA-format folder."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import torch
from shared_models import noise_picture, trained_summary
from tiny_rows import trainable

from skipcore import InputError, SkipVision, load
from skipcore.__main__ import main
from skipcore.finetune.finetune import LOG_FILE, MEMORY_ADVICE, SETTINGS_FILE
from skipcore.finetune.run_settings import Settings, read_values

LORA = pytest.param(["--lora", "4"], id="LoRA")
FULL = pytest.param(["--full"], id="full")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and data: 12 rows, 4 pictures."""
    folder = tmp_path_factory.mktemp("finetune")
    torch.manual_seed(0)
    vlm = trainable("Qwen2.5-VL")
    vlm.model.save_pretrained(folder / "model")
    vlm.processor.save_pretrained(folder / "model")
    rows = []
    for number in range(12):
        noise_picture(number % 4).save(folder / f"{number % 4}.png")
        turns = [{"from": "human", "value": "<image>\nWhich?"}, {"from": "gpt", "value": f"number {number % 4}"}]
        rows.append({"image": f"{number % 4}.png", "conversations": turns})
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A19."""

    def refuse(*args: object) -> None:
        raise AssertionError("a run must not connect to anything by itself")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")


def finetune(folder: Path, output: Path, *flags: str) -> int:
    return main(
        [
            "finetune", "--model", str(folder / "model"), "--data", str(folder / "rows.json"), "--output", str(output),
            "--max-steps", "4", "--batch", "2", "--accumulate", "2", "--lr", "0.003", "--workers", "0",
            "--log-steps", "1", *flags,
        ]
    )  # fmt: skip


@pytest.mark.parametrize("flags", [LORA, FULL])
def test_a_run(flags: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A13, A15: the result loads as it is, with its method; dense and skipping scores; what trains is said."""
    if "--lora" in flags:
        pytest.importorskip("peft")
    output = tmp_path / "out"
    more = ["--eval-share", "0.2", "--train-summary", "--skip-share", "0.5", "--save-steps", "2", *flags]
    assert finetune(folder, output, *more) == 0
    said = capsys.readouterr().out
    assert "Learned of it:\nnumber" in said and "</s>" in said and "tower" in said
    record = json.loads((output / LOG_FILE).read_text())
    assert {"eval_loss", "eval_dense_loss", "eval_accuracy"} <= record["scores"].keys()
    assert sum("grad_norm" in log for log in record["log"]) == 4
    card = (output / "README.md").read_text()
    assert "Skip-Vision 17.4%+27.1%" in card and "| dense |" in card and "lora = " in card
    vlm = load(output)
    assert vlm.method is not None and vlm.method.num_retained == 0.174 and vlm.method.summary is not None
    base = load(folder / "model")
    changed = {
        name.split(".")[1]
        for (name, one), other in zip(vlm.model.named_parameters(), base.model.parameters(), strict=True)
        if not torch.equal(one, other)
    }
    assert changed == ({"language_model"} if "--lora" in flags else {"language_model", "visual", "weight"})
    assert Settings(**read_values(output / SETTINGS_FILE)).train_summary


def test_adapters_and_merged_are_the_same(folder: Path, tmp_path: Path) -> None:
    """A12."""
    peft = pytest.importorskip("peft")
    for name, more in {"adapters": [], "merged": ["--merge"]}.items():
        assert finetune(folder, tmp_path / name, "--lora", "4", *more) == 0
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    base = load(folder / "model").model
    trained = peft.PeftModel.from_pretrained(base, tmp_path / "adapters")
    ids = torch.arange(40, 60)[None]
    with torch.no_grad():
        wanted = trained(input_ids=ids).logits
        for name in ("adapters", "merged"):
            found = load(tmp_path / name).model(input_ids=ids).logits
            torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)
        assert (wanted - load(folder / "model").model(input_ids=ids).logits).abs().max() > 1e-4
    kinds = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name, _ in trained.named_parameters() if "lora_" in name}
    assert {"gate_proj", "up_proj", "down_proj"} <= kinds
    assert not any("visual" in name for name, _ in trained.named_parameters() if "lora_" in name)


def test_going_on_from_the_file(folder: Path, tmp_path: Path) -> None:
    """A run that was cut short goes on by its own settings file."""
    output = tmp_path / "out"
    assert finetune(folder, output, "--full", "--save-steps", "2") == 0
    whole = json.loads((output / LOG_FILE).read_text())["log"]
    for left in ("checkpoint-4", LOG_FILE, "model.safetensors"):
        path = output / left
        path.unlink() if path.is_file() else path.rename(tmp_path / "gone")
    assert finetune(folder, output, "--full") == 2  # it is not empty
    assert main(["finetune", "--config", str(output / SETTINGS_FILE), "--resume"]) == 0
    again = json.loads((output / LOG_FILE).read_text())["log"]

    def losses(log: list[dict]) -> list[float]:
        return [each["loss"] for each in log if "loss" in each]

    assert losses(again) == pytest.approx(losses(whole), abs=1e-6)


def test_a_dry_run_writes_nothing(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert finetune(folder, tmp_path / "out", "--full", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "Learned of it:\nnumber 0</s>\n" in said and "visual tokens left out" in said
    assert not (tmp_path / "out").exists()


def test_bad_rows_are_listed_or_left_out(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads((folder / "rows.json").read_text())
    rows[3]["image"] = "none.png"
    (folder / "bad.json").write_text(json.dumps(rows))
    bad = ["--full", "--data", str(folder / "bad.json"), "--dry-run"]
    assert finetune(folder, tmp_path / "out", *bad) == 2
    error = capsys.readouterr().err
    assert "1 of 12 rows" in error and "Row 4: There is no picture" in error and "--skip-bad-rows" in error
    assert finetune(folder, tmp_path / "out", *bad, "--skip-bad-rows") == 0
    assert "11 rows" in capsys.readouterr().out


def test_a_lack_of_memory_says_what_helps(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A18."""
    from skipcore.finetune.tuner import FineTuner

    def too_much(*args: object, **kwargs: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(FineTuner, "compute_loss", too_much)
    assert finetune(folder, tmp_path / "out", "--full") == 3
    assert MEMORY_ADVICE in capsys.readouterr().err
    assert all(flag in MEMORY_ADVICE for flag in ("--max-pixels", "--batch", "--checkpointing"))


def test_ranges_make_budgets() -> None:
    settings = Settings("m", data="d", output="o", retained_range=(10, 100), skipped_range=(0.1, 0.4))
    assert settings.budgets() is not None and settings.rate == 1e-4 and settings.method(width=8).summary is None


def test_a_models_own_method_is_kept() -> None:
    own = SkipVision(10, 20, retain="raster", summary=trained_summary(8))
    given = {"model": "m", "data": "d", "output": "o"}
    assert Settings(**given).method(own, 8) == own and not own.summary.score.weight.requires_grad
    trained = Settings(**given, train_summary=True, retain="uniform").method(own, 8)
    assert trained.num_retained == 10 and trained.retain == "uniform" and trained.summary.score.weight.requires_grad
    assert torch.equal(trained.summary.score.weight, own.summary.score.weight)
    other = Settings(**given, num_retained=0.1, num_skipped=0.2, text_attends_skipped="yes").method(own)
    assert (other.num_retained, other.num_skipped, other.text_attends_skipped) == (0.1, 0.2, True)
    assert Settings(**given, train_summary=True).method(None, 8).summary is not None


def test_settings_survive_their_file(tmp_path: Path) -> None:
    ranges = {"num_retained": 100, "num_skipped": 5, "retained_range": (1, 2), "skipped_range": (3, 4)}
    settings = Settings("m", data="d\"'ä", output="o", lora=0, train=("tower",), skip_share=0.5, **ranges)
    (tmp_path / "run.toml").write_text(settings.to_toml())
    assert Settings(**read_values(tmp_path / "run.toml")) == settings


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": ""}, "needs --model, --data and --output"),
        ({"skip_share": 2}, "--skip-share"),
        ({"skip_share": "x"}, "--skip-share must be a number"),
        ({"batch": 0}, "--batch"),
        ({"batch": True}, "--batch must be a whole number"),
        ({"lr": -1.0}, "--lr must not be negative"),
        ({"retain": "best"}, "--retain must be of"),
        ({"log": ("paper",)}, "--log must be of trackio"),
        ({"retained_range": (1, 2)}, "together"),
        ({"retained_range": (2, 1), "skipped_range": (1, 2)}, "range of retained"),
        ({"retained_range": (1,), "skipped_range": (1, 2)}, "two counts"),
        ({"num_retained": 1.5}, "between 0.0 and 1.0"),
        ({"num_retained": 5}, "--num-retained and --num-skipped together"),
        ({"text_attends_skipped": "maybe"}, "--text-attends-skipped must be of yes, no"),
        ({"eval_data": "x", "eval_share": 0.1}, "not both"),
        ({"train": ("tower",)}, "--train is for --lora 0"),
        ({"lora": 0, "merge": True}, "--merge is for adapters"),
    ],
)
def test_bad_settings(changes: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Settings(**({"model": "m", "data": "d", "output": "o"} | changes))


@pytest.mark.parametrize("text", ["[data]\nmodel = 'x'", "[cat]\na = 1", "data = 1", "[data"])
def test_bad_files_of_settings(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(InputError, match=r"run\.toml (has an unknown key|is not valid TOML)"):
        read_values(tmp_path / "run.toml")
