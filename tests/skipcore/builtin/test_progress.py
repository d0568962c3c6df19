"""The log and the plot of a run."""

from __future__ import annotations

import builtins
import errno
import json
from pathlib import Path
from typing import Any

import pytest
from training_runs import STAGE

from skipcore.builtin.training import training_log as progress
from skipcore.builtin.training.training_log import Progress
from skipcore.builtin.training.training_plot import read_log, write_plot
from skipcore.errors import InputError

MEASURED = {"rate": 1e-3, "pictures": 8.0, "loss_patches": 3.0}


def lines_of(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_the_log_holds_means_over_twenty_steps(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    log = tmp_path / "runs" / "log.jsonl"
    shown = Progress(log, STAGE, step=0)
    for step in range(1, 24):
        way = "skip" if step % 2 else "dense"
        shown.add(step, {**MEASURED, f"loss_{way}": float(step)})
    shown.close()
    first, second = lines_of(log)
    assert (first["stage"], first["step"], first["steps"]) == ("84 px", 20, 12)
    assert (first["loss_dense"], first["loss_skip"], first["loss_patches"]) == (11.0, 10.0, 3.0)
    assert (second["step"], second["loss_dense"], second["loss_skip"]) == (23, 22.0, 22.0)
    assert first["pictures_per_s"] > 0 and first["seconds"] >= 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2 and "20/12" in told[0] and "min left" in told[0]


def test_other_processes_write_nothing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    silent = Progress(tmp_path / "log.jsonl", STAGE, step=0, show=False)
    for step in range(1, 41):
        silent.add(step, MEASURED)
    assert not any(silent.values.values())
    silent.close()
    assert not (tmp_path / "log.jsonl").exists() and capsys.readouterr().out == ""


def test_a_log_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    shown = Progress(tmp_path / "log.jsonl", STAGE, step=0)
    shown.add(1, MEASURED)
    monkeypatch.setattr(progress.Path, "open", full)
    with pytest.raises(InputError, match=r"No space left on device.*Free some space"):
        shown.close()


def line(stage: str, step: int, **values: float) -> str:
    return json.dumps({"stage": stage, "step": step, "steps": 40, "rate": 1e-3, **values})


RUN = [
    line("84 px", 20, loss_patches=4.0, patches_right=0.1),
    line("84 px", 40, loss_patches=2.0, patches_right=0.4),
    line("336 px", 20, loss_patches=1.5, patches_right=0.5, loss_dense=3.0, loss_skip=3.5, right_dense_scenes=0.2),
    line("336 px", 40, loss_patches=1.2, loss_dense=1.0, loss_skip=1.1, right_dense_scenes=0.6, right_skip_scenes=0.5),
]


def written(folder: Path, lines: list[str]) -> Path:
    log = folder / "log.jsonl"
    log.write_text("\n".join(lines) + "\n")
    return log


def test_steps_are_counted_over_all_stages(tmp_path: Path) -> None:
    curves = read_log(written(tmp_path, RUN))
    assert curves.stages == (("84 px", 0), ("336 px", 40))
    assert curves.last_step == 80
    assert curves.points["loss_patches"] == [(20, 4.0), (40, 2.0), (60, 1.5), (80, 1.2)]
    assert curves.points["loss_skip"] == [(60, 3.5), (80, 1.1)]
    assert "rate" not in curves.points


def test_what_a_kill_leaves_in_the_log_does_no_harm(tmp_path: Path) -> None:
    """Steps done again count once, as they were done last; half a line is passed over."""
    again = line("84 px", 40, loss_patches=2.5)
    curves = read_log(written(tmp_path, [*RUN[:2], RUN[2][:30], again, "[1]", "", *RUN[2:]]))
    assert curves.points["loss_patches"] == [(20, 4.0), (40, 2.5), (60, 1.5), (80, 1.2)]
    assert curves.points["patches_right"] == [(20, 0.1), (60, 0.5)]


@pytest.mark.parametrize("ending", [".svg", ".png"])
def test_a_plot_is_written(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("matplotlib")
    output = tmp_path / "plots" / f"run{ending}"
    write_plot(written(tmp_path, RUN), output)
    first = output.read_bytes()
    write_plot(tmp_path / "log.jsonl", output)
    assert output.read_bytes() == first
    if ending == ".png":
        assert first.startswith(b"\x89PNG") and len(first) > 10_000
        return
    text = first.decode()
    for word in ("84 px", "336 px", "loss", "share right", "answers, dense", "answers, Skip-Vision", "patches named"):
        assert word in text, word
    assert "#009e73" in text and "easy-VQA" not in text


def test_a_log_of_one_line_is_plotted(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_plot(written(tmp_path, RUN[:1]), tmp_path / "run.svg")
    assert "patches" in (tmp_path / "run.svg").read_text()


def test_bad_logs_and_outputs_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        write_plot(tmp_path / "no.jsonl", tmp_path / "run.svg")
    with pytest.raises(InputError, match="cannot be read"):
        write_plot(tmp_path, tmp_path / "run.svg")
    for nothing in ([""], ["{}"]):
        with pytest.raises(InputError, match="holds no steps yet"):
            write_plot(written(tmp_path, nothing), tmp_path / "run.svg")
    with pytest.raises(InputError, match=r"end in \.svg, \.png"):
        write_plot(written(tmp_path, RUN), tmp_path / "run.gif")
    (tmp_path / "file").write_text("")
    pytest.importorskip("matplotlib")
    with pytest.raises(InputError, match="Choose another place"):
        write_plot(written(tmp_path, RUN), tmp_path / "file" / "run.svg")


def test_a_missing_matplotlib_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="pip install 'matplotlib"):
        write_plot(written(tmp_path, RUN), tmp_path / "run.svg")
    assert not (tmp_path / "run.svg").exists()
