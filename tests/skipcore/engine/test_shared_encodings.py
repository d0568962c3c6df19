"""Encode once, prefill as often as one likes: what is known of an encoding travels with its features."""

from __future__ import annotations

import pytest
import torch
from family_methods import METHODS, SEEING_PEERS
from model_runs import logits
from shared_models import noise_picture
from tiny_families import BUILDERS, tiny_model

from skipcore import InputError, Vlm

OPTIONS = {"max_new_tokens": 2, "do_sample": False, "eos_token_id": -1}


@pytest.fixture(params=BUILDERS)
def vlm(request: pytest.FixtureRequest) -> Vlm:
    return tiny_model(request.param)


METHOD = SEEING_PEERS["VisionZip"]
"""Needs to know the shapes of pictures, and what it saw of the tower."""


@pytest.mark.parametrize("inside", [True, False])
def test_prefills_in_any_order(vlm: Vlm, inside: bool) -> None:
    """Two pictures of other shapes, encoded one after the other, in the session or before it."""
    prompts = [vlm.prepare(noise_picture(0, 48, 32), "What?"), vlm.prepare(noise_picture(1, 32, 64), "Where is it?")]
    expected = []
    for prompt in prompts:
        with METHOD(vlm.model):
            expected.append(logits(vlm, prompt.inputs))
    features = [] if inside else [vlm.encode(prompt, METHOD) for prompt in prompts]
    with METHOD(vlm.model):
        features = features or [vlm.encode(prompt) for prompt in prompts]
        for turn in (0, 1, 0):
            inputs = prompts[turn].with_features(features[turn])
            assert torch.equal(logits(vlm, inputs), expected[turn])
            # which takes out the sizes, since they are the encoder's
            generated = vlm.model.generate(**inputs, **OPTIONS, return_dict_in_generate=True, output_logits=True)
            torch.testing.assert_close(generated.logits[0], expected[turn][:, -1], rtol=0, atol=1e-6)


def test_generate_repeats_prompts_but_not_what_was_encoded(vlm: Vlm) -> None:
    """A batch of text and of two pictures in one prompt, several sequences each. (The stock GLM-4V mixes up the
    pictures of a prompt that it repeats: it gets one.)"""
    pictures = [noise_picture(0, 48, 32), noise_picture(1, 32, 64)][: 1 if vlm.name.startswith("GLM") else 2]
    texts = [vlm._prompt([(question, "")], count) for question, count in (("Which?", 0), ("These?", len(pictures)))]
    nested = type(vlm.processor).__name__ in ("Gemma3Processor", "SmolVLMProcessor", "Idefics3Processor")
    made = vlm.processor(
        images=[[], pictures] if nested else pictures,
        text=texts,
        padding=True,
        padding_side="left",
        return_tensors="pt",
    )
    inputs = {name: value for name, value in made.items() if isinstance(value, torch.Tensor)}
    more = {"return_dict_in_generate": True, "output_logits": True, "max_new_tokens": 1, "eos_token_id": -1}
    with METHOD(vlm.model):
        once = vlm.model.generate(**inputs, **more, do_sample=False).logits[0]
        thrice = vlm.model.generate(**inputs, **more, do_sample=True, num_return_sequences=3).logits[0]
    torch.testing.assert_close(thrice, once.repeat_interleave(3, dim=0), rtol=0, atol=1e-5)


def test_features_of_a_shape_that_is_not_known_are_refused() -> None:
    """Sixteen tokens may be four by four, or two by eight."""
    vlm = tiny_model("Pixtral")
    prompt = vlm.prepare(noise_picture(0, 64, 16), "What?")
    (features,) = vlm.encode(prompt).values()
    bare = type(features)(pooler_output=features.pooler_output)
    inputs = {name: value for name, value in prompt.with_features({"image": bare}).items() if name != "image_sizes"}
    with pytest.raises(InputError, match="visual tokens"), METHODS["masked"](vlm.model):
        logits(vlm, inputs)
