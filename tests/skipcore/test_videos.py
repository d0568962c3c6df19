"""Videos: every frame, or every pair of frames, is a tile of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from model_runs import logits
from tiny_families import tiny_model

from skipcore import Role, SkipVision

FRAMES = torch.from_numpy(np.random.RandomState(0).randint(0, 255, (4, 3, 32, 48), dtype=np.uint8))
VIDEOS: dict[str, tuple[str, dict[str, Any], list[int]]] = {
    "Qwen2-VL": ("<start><video><end>", {}, [2]),
    "Qwen2.5-VL": ("<start><video><end>", {}, [2]),
    "Qwen3-VL": ("<start><video><end>", {"fps": 2.0, "frames_indices": [0, 1, 2, 3], "total_num_frames": 4}, [2]),
    "LLaVA-OneVision": ("<video>", {}, [4]),
    "InternVL": ("<video>", {}, [1, 1, 1, 1]),
}
"""The placeholder, what the processor must know of the video, and the tiles of each picture or video found."""


@pytest.mark.parametrize("name", VIDEOS)
def test_frames_of_a_video(name: str) -> None:
    """Families that read two frames as one make half as many tiles; InternVL takes every frame for a picture."""
    vlm, (placeholder, metadata, tiles) = tiny_model(name), VIDEOS[name]
    options: dict[str, Any] = {"do_sample_frames": False}
    if metadata:
        options["video_metadata"] = [metadata]
    if name.startswith("Qwen"):
        options["cap_pixels_per_frame"] = False
    batch = vlm.processor(text=[f"{placeholder}What?"], videos=[FRAMES], return_tensors="pt", videos_kwargs=options)
    inputs = {key: value for key, value in batch.items() if isinstance(value, torch.Tensor)}
    dense = logits(vlm, inputs)
    with SkipVision(1.0, 0.0)(vlm.model) as session:
        assert torch.equal(logits(vlm, inputs), dense)
    assert list(session.trace.tiles) == tiles
    with SkipVision(0.25, 0.5)(vlm.model) as session:
        one = logits(vlm, inputs)[0, -1]
        again = vlm.model.generate(**inputs, max_new_tokens=1, do_sample=False, eos_token_id=-1)[0, -1]
    assert int(one.argmax()) == int(again)
    frames = [rows * columns for rows, columns in session.trace.image_grid]
    each = np.add.reduceat(frames, np.cumsum([0, *tiles[:-1]]))
    assert int((session.trace.slot_role == Role.RETAINED).sum()) == sum(round(0.25 * count) for count in each)
