"""The laws over videos: every frame, or every pair of frames, is a tile of its own, or a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from family_methods import METHODS, PEERS, SEEING_PEERS
from family_reference import assert_equals_reference
from model_runs import logits
from shared_models import noise_picture
from tiny_families import tiny_model

from skipcore import InputError, Role, SkipVision, Vlm


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


@pytest.mark.parametrize("name", ["masked", "VTW", "VisionZip"])
def test_videos_beside_text_equal_the_single_runs(vlm: Vlm, name: str) -> None:
    """Also under a method that looks at the tower, for which frames must be found there."""
    method = {**METHODS, **PEERS, **SEEING_PEERS}[name]
    rows = [("{video}What?", [video(1)]), ("b" * 120, []), ("Look: {video}What happens?", [video(2, 4, 32, 48)])]
    together = prepare(vlm, [text for text, _ in rows], [own for _, videos in rows for own in videos])
    if vlm.name == "LLaVA-OneVision" and name == "VisionZip":
        with pytest.raises(InputError, match="no patches of the vision tower"), method(vlm.model):
            logits(vlm, together)
        return
    if not hasattr(vlm.model.base_model, "get_rope_index"):
        together["position_ids"] = (together["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    with method(vlm.model):
        actual = logits(vlm, together)
    for row, (text, videos) in enumerate(rows):
        single = prepare(vlm, [text], videos) if videos else vlm.processor.tokenizer([text], return_tensors="pt")
        with method(vlm.model):
            expected = logits(vlm, dict(single))[0]
        real = together["attention_mask"][row].bool()
        torch.testing.assert_close(actual[row][real], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("family", ["Qwen2-VL", "Qwen2.5-VL", "Qwen3-VL"])
def test_a_picture_and_a_video_are_found_in_the_tower(family: str) -> None:
    """As of each alone: the tower's windows are those of the picture, and those of the video."""
    vlm, method = tiny_model(family), SEEING_PEERS["VisionZip"]
    kept = []
    for prompt, pictures, videos in (
        ("<image> and {video}What?", [noise_picture(0)], [video(0)]),
        ("<image>What?", [noise_picture(0)], []),
        ("{video}What?", [], [video(0)]),
    ):
        if videos:
            inputs = prepare(vlm, [prompt], videos, **({"images": pictures} if pictures else {}))
        else:
            inputs = dict(vlm.processor(images=pictures, text=[prompt], return_tensors="pt"))
        with method(vlm.model) as session:
            logits(vlm, inputs)
        kept.append((session.trace.role, session.trace.merged_into - session.trace.merged_into[0]))
    both, picture, of_video = (role for role, _ in kept)
    assert torch.equal(both, torch.cat([picture, of_video]))
    assert torch.equal(kept[0][1][: len(picture)], kept[1][1])
