"""New scene: a fresh picture with questions whose true answers are known."""

from __future__ import annotations

import secrets
from html import escape

import gradio as gr

from app.panels import AT_ONCE, Changes
from app.server.gradio_internals import save_picture
from app.server.pool import ModelPool
from app.truth import Known, digest_of_upload
from skipcore import InputError
from skipcore.builtin.scenes.numbered import NUMBERS, capitalized, numbered_scene
from skipcore.builtin.scenes.world_file import World
from skipcore.provenance import file_sha256

MOST_SUGGESTIONS = 6
HINT = "A fresh picture, with questions whose true answers are known."
# On a touch screen the keyboard would cover the page.
FOCUS = "() => { if (matchMedia('(pointer: fine)').matches) document.querySelector('#question textarea').focus(); }"


class ScenePanel:
    """The button, the scene's number and the suggested questions.

    Args:
        world: what the model was trained on, which scenes and questions keep to. Without one that can be drawn, or
            where it is not known, there is no button.

    Attributes:
        known: the visitor's scene. It counts for that very picture only, see `truth.truth_of`.
    """

    def __init__(self, world: World | None) -> None:
        self.known = gr.State(None)
        with gr.Row(visible=_can_draw(world), elem_id="scene") as self.offer:
            self.button = gr.Button("New scene", size="md", scale=0, min_width=120, elem_id="new-scene")
            self.number = gr.HTML(f'<p class="hint">{HINT}</p>', elem_id="scene-number")
        with gr.Row(visible=False, elem_id="suggestions") as self.row:
            self.suggestions = [
                gr.Button("", size="sm", variant="secondary", min_width=0, scale=0, elem_classes="suggestion")
                for _ in range(MOST_SUGGESTIONS)
            ]

    def wire(self, picture: gr.Image, question: gr.Textbox, pool: ModelPool, chosen: gr.State) -> None:
        """Let the button fill the picture, and a click on a suggestion the question.

        Args:
            chosen: the name of the visitor's model.
        """
        self.button.click(
            lambda model: self.draw(picture, question, secrets.randbelow(NUMBERS), pool.get(model).world),
            chosen,
            [picture, question, self.known, self.number, self.row, *self.suggestions],
            **AT_ONCE,
        )
        picture.change(self.keep_to, [picture, self.known], [self.row, self.number], preprocess=False, **AT_ONCE)
        for button in self.suggestions:
            button.click(lambda text: text, button, question, **AT_ONCE).then(None, js=FOCUS, api_visibility="private")

    def show_model(self, world: World | None) -> Changes:
        """The button, where scenes of the model's world can be drawn."""
        return {self.offer: gr.update(visible=_can_draw(world))}

    def draw(self, picture: gr.Image, question: gr.Textbox, number: int, world: World | None) -> Changes:
        """Show the scene of a number; the first suggestion stands in the question box, ready to ask."""
        try:
            scene = numbered_scene(number, MOST_SUGGESTIONS, world)
        except InputError as error:
            return {self.number: f'<p class="hint">{escape(str(error))}</p>'}
        path = save_picture(scene.picture, f"scene-{number}", picture)
        texts = [capitalized(each.text) for each in scene.questions]
        shown = dict(zip(self.suggestions, texts, strict=False))
        return {
            picture: path,
            question: texts[0] if texts else "",
            self.known: Known(file_sha256(path), scene.questions, number),
            self.number: f'<p class="hint">scene {number}. Take a question, and the answers will be marked:</p>',
            self.row: gr.update(visible=True),
        } | {button: gr.update(value=shown.get(button, ""), visible=button in shown) for button in self.suggestions}

    def keep_to(self, picture: object, known: Known | None) -> Changes:
        """Whenever the picture changes: suggestions stand beside their own scene only."""
        is_scene = known is not None and digest_of_upload(picture) == known.picture
        changes: Changes = {self.row: gr.update(visible=is_scene)}
        return changes if is_scene else changes | {self.number: f'<p class="hint">{HINT}</p>'}


def _can_draw(world: World | None) -> bool:
    return world is not None and world.contents() is not None
