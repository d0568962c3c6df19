"""The map of a calibration and its"""

from __future__ import annotations

import gradio as gr
import pytest
from laid_out import visible_blocks

from app.charts.calibration import choices_table, divergence_map, finding, sublayers_table
from app.panels.calibration import CalibrationPanel
from app.wording import skipped_tokens_sentence, skipping_sentence
from skipcore import Calibration, SkipVision, Vlm
from skipcore.calibration.choice import Choice
from skipcore.methods.skip_vision import UNTRAINED

METHOD = SkipVision(0.25, 0.75, layers=(1,), attention_layers=(0, 2), **UNTRAINED)
CALIBRATION = Calibration(
    model="hand-made",
    method=METHOD,
    target=0.7,
    kv_target=1.0,
    pictures=3,
    positions=12,
    choice=Choice("calibrated", METHOD.label, (1,), (0, 2), 0.68, 1.0, 0.001, 0.92),
    rivals=(
        Choice("preset", "PyramidDrop 50%, 25%, 12.5%", (), (), 0.5, 0.49, 0.05, 0.75),
        Choice("uniform", "Uniform grid 60%", (), (), 0.69, 0.6, 0.01, 0.8),
    ),
    ffn_kl=(0.1, 0.0, 0.02),
    attention_kl=(1e-9, 0.3, 0.004),
    ffn_update=(0.5, 0.25, 0.125),
)


def test_the_map_marks_what_skips() -> None:
    heat, dots = divergence_map(CALIBRATION).data
    assert list(zip(dots.x, dots.y, strict=True)) == [(1, "attention"), (3, "attention"), (2, "FFN")]
    assert heat.z[0][0] == -6 and heat.customdata[1][0] == 0.1  # noise gets the first color, and its own value as text


def test_every_value_is_there_as_text() -> None:
    table = sublayers_table(CALIBRATION)
    assert all(value in table for value in ("Layer 3", "0.3", "0.004", "0.125"))
    assert "Uniform grid 60%" in choices_table(CALIBRATION)
    assert finding(CALIBRATION).endswith("the best of the other choices (uniform) by 0.01.")


@pytest.mark.parametrize("calibration, shown", [(None, False), (CALIBRATION, True)])
def test_the_panel_is_there_where_the_model_was_calibrated(
    tiny: Vlm, calibration: Calibration | None, shown: bool
) -> None:
    vlm = Vlm(tiny.model, tiny.processor, tiny.family, tiny.name, None, calibration)
    with gr.Blocks() as page:
        CalibrationPanel(vlm)
    assert any(isinstance(block, gr.Plot) for block in visible_blocks(page)) == shown
    assert skipping_sentence(vlm).startswith("Calibrated" if shown else "This model was not trained")


def test_what_skipped_tokens_do() -> None:
    assert skipped_tokens_sentence(SkipVision()) == "Run attention only and leave the KV cache."
    assert skipped_tokens_sentence(METHOD) == "Skip the FFN in 1 layer and the attention in 2."
