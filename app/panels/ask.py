"""Ask: a picture, a question, settings; Ask and Stop; and one line that says how it went."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from app.examples import Example, outcomes_sentence
from app.panels import QUIET, Changes
from app.panels.components import status
from app.panels.method import MethodPanel
from app.panels.scene import ScenePanel
from app.runs.budgets import OWN, SKIP_VISION
from app.server.gradio_internals import keep_samples
from app.server.models import BUILT_IN, running_model
from app.server.uploads import size_note
from app.settings import MAX_NEW_TOKENS, MAX_REPEATS, Settings
from app.wording import skipped_tokens_sentence, skipping_sentence
from app.world import world_lists, world_sentence
from skipcore import SkipVision, Vlm
from skipcore.builtin.scenes.world_file import World
from skipcore.methods.retain import RETAIN_RULES

READY = "Choose a picture, type a question, press Ask."
# Long enough for a description of nine things; most answers end much sooner.
USUAL_NEW_TOKENS = 96


class AskPanel:
    """The left side of the page.

    Attributes:
        inputs: what a run needs: picture, question, and what `settings` takes.
        outputs: what `running` and `idle` change.
    """

    def __init__(self, vlm: Vlm, num_visual_tokens: int, examples: list[Example], world: World | None = None) -> None:
        own = vlm.skip_vision
        # pictures of such a model may have any number of tokens
        self._in_shares = isinstance(own.num_retained, float) and isinstance(own.num_skipped, float)
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
        if examples:
            self._lay_out_examples(examples)
            if running_model(vlm).name == BUILT_IN:
                gr.HTML(f'<p class="hint">{escape(outcomes_sentence(examples))}</p>', elem_id="outcomes")
        self.scene = ScenePanel(world)
        self.question = gr.Textbox(
            value=first.question if first else "",
            label="Question",
            placeholder="What is in the picture?",
            lines=1,
            max_lines=4,
            elem_id="question",
        )
        self.method = MethodPanel(vlm)
        with gr.Row():
            self.ask_button = gr.Button("Ask", variant="primary", scale=3, min_width=120, elem_id="ask")
            self.stop_button = gr.Button("Stop", interactive=False, scale=1, min_width=80, elem_id="stop")
        self.notice = gr.HTML(status(READY), elem_id="notice")
        # what a model cannot know is said before anyone asks
        gr.HTML(f'<p class="hint">{escape(world_sentence(world))}</p>', elem_id="world")
        if world is not None:
            with gr.Accordion("All it knows", open=False, elem_id="world-lists"):
                gr.HTML(world_lists(world))
        if (how := skipping_sentence(vlm)) and self.method.first != OWN:
            gr.HTML(f'<p class="hint">{escape(how)}</p>', elem_id="skipping")
        with gr.Accordion("Settings", open=False, elem_id="settings"):
            self._lay_out_settings(own, 100 if self._in_shares else num_visual_tokens)
        self.scene.wire(self.picture, self.question)
        self.picture.change(_shown_size, self.picture, self.size, preprocess=False, queue=False, **QUIET)
        self.method.wire(self.skip_vision)
        if examples:
            self.gallery.click(
                lambda number: (examples[number].image, examples[number].question),
                self.gallery,
                [self.picture, self.question],
                queue=False,
                show_progress="hidden",
                api_visibility="private",
            )
        self.outputs = [self.ask_button, self.stop_button, self.notice]
        self.inputs = [
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

    @property
    def in_shares(self) -> bool:
        """Whether tokens are chosen in per cent: pictures of such a model may have any number of them."""
        return self._in_shares

    def _lay_out_examples(self, examples: list[Example]) -> None:
        thumbnail = gr.Image(render=False)
        self.gallery = gr.Dataset(
            components=[thumbnail],
            samples=[[example.image] for example in examples],
            type="index",
            layout="gallery",
            samples_per_page=8,
            label="Or take an example",
            elem_id="examples",
        )
        keep_samples(self.picture, thumbnail)

    def _lay_out_settings(self, own: SkipVision, most: int) -> None:
        with gr.Column(visible=self.method.first == SKIP_VISION) as self.skip_vision:
            self.retained = gr.Slider(
                0,
                most,
                _count(own.num_retained, most),
                step=1,
                precision=0,
                label=LABELS["num_retained"] + ", per cent" * self._in_shares,
                info="Run the whole decoder block.",
                elem_id="retained",
                buttons=[],
            )
            self.skipped = gr.Slider(
                0,
                most,
                _count(own.num_skipped, most),
                step=1,
                precision=0,
                label=LABELS["num_skipped"] + ", per cent" * self._in_shares,
                info=skipped_tokens_sentence(own) + " All others are merged into them.",
                elem_id="skipped",
                buttons=[],
            )
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

    def settings(self, retained: float, skipped: float, *others: Any) -> Settings:
        """What the controls say, from their values in the order of `inputs`."""
        last = len(self.method.inputs)
        counts = (retained / 100, skipped / 100) if self._in_shares else (retained, skipped)
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
    return gr.update(value=f'<p class="hint">{escape(note)}</p>', visible=bool(note))


def _count(count: int | float, most: int) -> int:
    return min(round(count * most) if isinstance(count, float) else count, most)
