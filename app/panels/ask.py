"""Ask: a picture, a question, settings; Ask and Stop; and one line that says how it went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from app.examples import Example, load_examples, outcomes_sentence
from app.markup import paragraph
from app.page_model import PageModel
from app.panels import AT_ONCE, Changes
from app.panels.components import status
from app.panels.method import MethodPanel, first_choice
from app.panels.scene import ScenePanel
from app.runs.offered_methods import OWN, SKIP_VISION
from app.server.gradio_internals import keep_samples
from app.server.models import BUILT_IN
from app.server.pool import ModelPool
from app.server.uploads import size_note
from app.settings import MAX_NEW_TOKENS, MAX_REPEATS, Settings
from app.wording import skipped_tokens_sentence, skipping_sentence
from app.world import world_lists, world_sentence
from skipcore.methods.retain import RETAIN_RULES

READY = "Choose a picture, type a question, press Ask."
# Long enough for a description of nine things; most answers end much sooner.
USUAL_NEW_TOKENS = 96


class AskPanel:
    """The left side of the page.

    Args:
        chosen: the name of the visitor's model.

    Attributes:
        inputs: what a run needs: model, picture, question, and what `settings` takes.
        outputs: what `running` and `idle` change.
        of_model: what `show_model` changes.
    """

    def __init__(self, pool: ModelPool, chosen: gr.State) -> None:
        model = pool.first
        examples = model.examples
        first = examples[0] if examples else None
        self.picture = gr.Image(
            value=first.image if first else None,
            label="Picture",
            sources=["upload", "clipboard", "webcam"],
            height=260,
            buttons=[],
            elem_id="picture",
            alt_text="The picture you ask about",
        )
        self.size = gr.HTML(visible=False, elem_id="picture-size")
        self._lay_out_examples(model)
        self.scene = ScenePanel(model.world)
        self.question = gr.Textbox(
            value=first.question if first else "",
            label="Question",
            placeholder="What is in the picture?",
            lines=1,
            max_lines=4,
            elem_id="question",
        )
        self.method = MethodPanel(model.vlm)
        with gr.Row():
            self.ask_button = gr.Button("Ask", variant="primary", scale=3, min_width=120, elem_id="ask")
            self.stop_button = gr.Button("Stop", interactive=False, scale=1, min_width=80, elem_id="stop")
        self.notice = gr.HTML(status(READY), elem_id="notice")
        # what a model cannot know is said before anyone asks
        self.world = gr.HTML(paragraph(world_sentence(model.world), "hint"), elem_id="world")
        with gr.Accordion("All it knows", open=False, elem_id="world-lists", visible=model.is_judge) as self.world_fold:
            self.world_lists = gr.HTML(_lists(model))
        self.skipping = gr.HTML(**_skipping(model), elem_id="skipping")
        with gr.Accordion("Settings", open=False, elem_id="settings"):
            self._lay_out_settings(model)
        self.scene.wire(self.picture, self.question, pool, chosen)
        self.picture.change(_shown_size, self.picture, self.size, preprocess=False, **AT_ONCE)
        self.method.wire(self.skip_vision, pool, chosen)

        def take_example(number: int, name: str) -> Changes:
            example = pool.get(name).examples[number]
            return {self.picture: example.image, self.question: example.question}

        outputs = [self.picture, self.question]
        self.gallery.click(take_example, [self.gallery, chosen], outputs, **AT_ONCE)
        self.outputs = [self.ask_button, self.stop_button, self.notice]
        self.of_model = [
            self.gallery,
            self.outcomes,
            self.scene.offer,
            self.world,
            self.world_fold,
            self.world_lists,
            self.skipping,
            self.skip_vision,
            self.retained,
            self.skipped,
            self.retain,
            self.text_attends_skipped,
            *self.method.inputs,
        ]
        self.inputs = [
            chosen,
            self.picture,
            self.question,
            self.retained,
            self.skipped,
            self.retain,
            self.text_attends_skipped,
            self.max_new_tokens,
            self.repeats,
            *self.method.inputs,
        ]

    def show_model(self, model: PageModel) -> Changes:
        """What follows the choice of another model; picture and question stay."""
        return {
            self.gallery: gr.update(samples=_samples(model.examples), visible=bool(model.examples)),
            self.outcomes: gr.update(**_outcomes(model)),
            self.world: paragraph(world_sentence(model.world), "hint"),
            self.world_fold: gr.update(visible=model.is_judge),
            self.world_lists: _lists(model),
            self.skipping: gr.update(**_skipping(model)),
            **self.scene.show_model(model.world),
            **self.method.show_model(model.vlm, self.skip_vision),
            self.retained: gr.update(**_retained(model)),
            self.skipped: gr.update(**_skipped(model)),
            self.retain: model.vlm.skip_vision.retain,
            self.text_attends_skipped: model.vlm.skip_vision.text_attends_skipped,
        }

    def _lay_out_examples(self, model: PageModel) -> None:
        thumbnail = gr.Image(render=False)
        self.gallery = gr.Dataset(
            components=[thumbnail],
            samples=_samples(model.examples),
            type="index",
            layout="gallery",
            samples_per_page=8,
            label="Or take an example",
            elem_id="examples",
            visible=bool(model.examples),
        )
        self.outcomes = gr.HTML(**_outcomes(model), elem_id="outcomes")
        gr.Dataset(components=[thumbnail], samples=_samples(load_examples()), render=False)  # another model's, too
        keep_samples(self.picture, thumbnail)

    def _lay_out_settings(self, model: PageModel) -> None:
        own = model.vlm.skip_vision
        with gr.Column(visible=first_choice(model.vlm) == SKIP_VISION) as self.skip_vision:
            self.retained = gr.Slider(
                0, step=1, precision=0, **_retained(model), info="Run the whole decoder block.",
                elem_id="retained", buttons=[],
            )  # fmt: skip
            self.skipped = gr.Slider(0, step=1, precision=0, **_skipped(model), elem_id="skipped", buttons=[])
            self.retain = gr.Dropdown(
                [(RULE_NAMES.get(name, name), name) for name in RETAIN_RULES],
                value=own.retain,
                label="Retain",
                elem_id="retain",
            )
            self.text_attends_skipped = gr.Checkbox(
                own.text_attends_skipped, label="Text sees skipped tokens while reading the prompt"
            )
        self.max_new_tokens = gr.Slider(
            1, MAX_NEW_TOKENS, USUAL_NEW_TOKENS, step=1, precision=0, label=LABELS["max_new_tokens"], buttons=[]
        )
        self.repeats = gr.Slider(
            1,
            MAX_REPEATS,
            3,
            step=1,
            precision=0,
            label=LABELS["repeats"],
            info="More runs, steadier figures.",
            buttons=[],
        )

    def settings(self, model: PageModel, retained: float, skipped: float, *others: Any) -> Settings:
        """What the controls say, from their values in the order of `inputs`."""
        last = len(self.method.inputs)
        counts = (retained / 100, skipped / 100) if model.in_shares else (retained, skipped)
        method = self.method.read(*others[-last:])
        of_skip_vision = (None,) * 4 if method["method"] == OWN else (*counts, *others[:2])
        return Settings(*of_skip_vision, *others[2:-last], **method)

    def running(self, sentence: str) -> Changes:
        """While a run goes on: Stop instead of Ask."""
        return {
            self.ask_button: gr.update(interactive=False),
            self.stop_button: gr.update(interactive=True),
            self.notice: status(sentence),
        }

    def idle(self, sentence: str, *, failed: bool = False) -> Changes:
        """After a run; the sentence of a failed one may name settings as the library does."""
        for setting, label in LABELS.items():
            sentence = sentence.replace(setting, f"“{label}”")
        return {
            self.ask_button: gr.update(interactive=True),
            self.stop_button: gr.update(interactive=False),
            self.notice: status(sentence, failed=failed),
        }


LABELS = {
    "num_retained": "Retained tokens",
    "num_skipped": "Skipped tokens",
    "max_new_tokens": "Longest answer, in tokens",
    "repeats": "Timed runs of each",
}
RULE_NAMES = {
    "saliency": "the most distinct (saliency)",
    "raster": "the first ones (raster)",
    "uniform": "evenly spaced (uniform)",
    "random": "at random (random)",
}


def _shown_size(picture: Any) -> dict[str, Any]:
    note = size_note(picture)
    return gr.update(value=paragraph(note, "hint"), visible=bool(note))


def _samples(examples: Sequence[Example]) -> list[list[str]]:
    return [[example.image] for example in examples]


def _outcomes(model: PageModel) -> dict[str, Any]:
    is_known = model.name == BUILT_IN and bool(model.examples)
    return {"value": paragraph(outcomes_sentence(model.examples), "hint") if is_known else "", "visible": is_known}


def _lists(model: PageModel) -> str:
    return "" if model.world is None else world_lists(model.world)


def _skipping(model: PageModel) -> dict[str, Any]:
    how = skipping_sentence(model.vlm)
    return {"value": paragraph(how, "hint"), "visible": bool(how) and first_choice(model.vlm) != OWN}


def _retained(model: PageModel) -> dict[str, Any]:
    return _slider(model, "num_retained")


def _skipped(model: PageModel) -> dict[str, Any]:
    info = skipped_tokens_sentence(model.vlm.skip_vision) + " All others are merged into them."
    return _slider(model, "num_skipped") | {"info": info}


def _slider(model: PageModel, name: str) -> dict[str, Any]:
    """Where a slider ends and stands, in tokens or per cent."""
    count = getattr(model.vlm.skip_vision, name)
    value = min(round(count * model.most) if isinstance(count, float) else count, model.most)
    return {"maximum": model.most, "value": value, "label": LABELS[name] + ", per cent" * model.in_shares}
