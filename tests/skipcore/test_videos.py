"""The laws over videos: every frame, or every pair of frames, is a tile of its own, or a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from family_methods import METHODS
from family_reference import assert_equals_reference
from model_runs import logits
from shared_models import noise_picture
from tiny_families import tiny_model

from skipcore import Role, SkipVision, Vlm


@dataclass(frozen=True)
class Takes:
    """How a family takes videos.

    Attributes:
        tiles: of each picture or video found in a prompt with a video of four frames.
        placeholder: stands for a video in the prompt.
        other_lengths: whether one batch may hold videos of different lengths.
        pictures: whether one prompt may hold a picture and a video.
    """

    tiles: tuple[int, ...]
    placeholder: str = "<video>"
    other_lengths: bool = False
    pictures: bool = True


QWEN = Takes((2,), "<start><video><end>", other_lengths=True)
GLM = Takes((2,), "<|begin_of_video|><video><|end_of_video|>", other_lengths=True, pictures=False)
VIDEOS = {
    "Qwen2-VL": QWEN,
    "Qwen2.5-VL": QWEN,
    "Qwen3-VL": QWEN,
    "Qwen3-VL-MoE": QWEN,
    "LLaVA-OneVision": Takes((4,)),
    "InternVL": Takes((1, 1, 1, 1)),
    "SmolVLM": Takes((1, 1, 1, 1), pictures=False),
    "GLM-4.1V": GLM,
    "GLM-4.5V": GLM,
    "GLM-4.6V": GLM,
}
if transformers.__version__.startswith("5.19."):  # its SmolVLM processor refuses every prompt with a video
    del VIDEOS["SmolVLM"]


def video(seed: int, frames: int = 4, height: int = 32, width: int = 48) -> torch.Tensor:
    """[frames, 3, height, width] uint8 of noise."""
    noise = np.random.RandomState(seed).randint(0, 255, (frames, 3, height, width), dtype=np.uint8)
    return torch.from_numpy(noise)


def prepare(vlm: Vlm, prompts: list[str], videos: list[torch.Tensor], **more: Any) -> dict[str, torch.Tensor]:
    """Prompts in which `{video}` stands for a video, as the family's own processor prepares them."""
    options: dict[str, Any] = {
        "do_sample_frames": False,
        "video_metadata": [
            {"fps": 2.0, "frames_indices": list(range(len(own))), "total_num_frames": len(own)} for own in videos
        ],
    }
    if vlm.name.startswith("Qwen"):
        options["cap_pixels_per_frame"] = False
    text = [prompt.format(video=VIDEOS[vlm.name].placeholder) for prompt in prompts]
    batch = vlm.processor(text=text, videos=videos, videos_kwargs=options, padding=True, return_tensors="pt", **more)
    return {name: value for name, value in batch.items() if isinstance(value, torch.Tensor)}


@pytest.fixture(params=VIDEOS)
def vlm(request: pytest.FixtureRequest) -> Vlm:
    return tiny_model(request.param)


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> SkipVision:
    return METHODS[request.param]


def test_frames_of_a_video(vlm: Vlm) -> None:
    """Families that read two frames as one make half as many tiles; InternVL and SmolVLM take every frame for a
    picture. Keeping all of them changes nothing."""
    inputs, tiles = prepare(vlm, ["{video}What?"], [video(0)]), VIDEOS[vlm.name].tiles
    dense = logits(vlm, inputs)
    with SkipVision(1.0, 0.0)(vlm.model) as session:
        assert torch.equal(logits(vlm, inputs), dense)
    assert session.trace.tiles == tiles
    with SkipVision(0.25, 0.5)(vlm.model) as session:
        one = logits(vlm, inputs)[0, -1]
        again = vlm.model.generate(**inputs, max_new_tokens=1, do_sample=False, eos_token_id=-1)[0, -1]
    assert int(one.argmax()) == int(again)
    retained = session.trace.slot_role == Role.RETAINED
    assert int(retained.sum()) == sum(round(0.25 * tokens) for tokens in session.trace.picture_tokens)


def test_equals_the_slow_reference(vlm: Vlm, method: SkipVision) -> None:
    assert_equals_reference(vlm, prepare(vlm, ["Look: {video}What?"], [video(0)]), method)


@pytest.mark.parametrize("name", [name for name, takes in VIDEOS.items() if takes.pictures])
@pytest.mark.parametrize("prompt", ["<image> and {video}What?", "{video} and <image>What?"])
def test_a_picture_and_a_video_equal_the_slow_reference(name: str, prompt: str, method: SkipVision) -> None:
    vlm = tiny_model(name)
    inputs = prepare(vlm, [prompt], [video(0)], images=[noise_picture(0)])
    assert_equals_reference(vlm, inputs, method)


def test_a_left_padded_batch_equals_the_single_runs(vlm: Vlm, method: SkipVision) -> None:
    """Videos of other shapes and, where the processor stacks them, lengths."""
    prompts = ["{video}What?", "Look: {video}What happens then, and where?"]
    videos = [video(1), video(2, 6 if VIDEOS[vlm.name].other_lengths else 4, 48, 32)]
    together = prepare(vlm, prompts, videos)
    options = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": -1}
    with method(vlm.model) as session:
        rows = logits(vlm, together)
        answers = vlm.model.generate(**together, **options)[:, -3:]
    for row, (prompt, own, trace) in enumerate(zip(prompts, videos, session.traces, strict=True)):
        single = prepare(vlm, [prompt], [own])
        with method(vlm.model) as alone:
            expected = logits(vlm, single)[0]
            answered = vlm.model.generate(**single, **options)[0, -3:]
        real = together["attention_mask"][row].bool()
        torch.testing.assert_close(rows[row][real], expected, rtol=0, atol=1e-5)
        assert answers[row].tolist() == answered.tolist()
        assert torch.equal(trace.slot_role, alone.trace.slot_role)
