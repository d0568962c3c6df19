"""Link: an address that opens the page with this example or scene, this question and these settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from app.examples import load_examples
from app.links import Link, from_query, ignored_sentence, settings_that_apply, to_query
from app.page_model import PageModel
from app.panels import AT_ONCE, Changes
from app.panels.ask import AskPanel
from app.panels.components import status
from app.panels.method import first_choice
from app.runs.offered_methods import OWN, SKIP_VISION
from app.server.pool import ModelPool
from app.truth import Known, digest_of_upload
from skipcore.provenance import file_sha256

OPENED = "Opened from a link: press Ask."
WITH_PICTURE = "Picture, question and settings are in the link."
WITHOUT_PICTURE = (
    "Question and settings are in the link. Your picture is not: it stays between you and this page, "
    "and people who open the link choose one."
)
# Only the browser knows the page's address. Copying may be forbidden, in a frame or without HTTPS: the box can be
# copied from by hand.
COPY = """(query) => {
    const address = location.origin + location.pathname + query;
    navigator.clipboard?.writeText(address).catch(() => {});
    return address;
}"""


class LinkPanel:
    """The button, and a box with the address once it was pressed.

    Attributes:
        opened: what `open` changes.
    """

    def __init__(self, ask_panel: AskPanel, pool: ModelPool) -> None:
        self.ask_panel, self._pool = ask_panel, pool
        self._by_digest = {file_sha256(example.image): example.name for example in load_examples()}
        self.button = gr.Button("Copy link", size="sm", elem_id="copy-link")
        self.address = gr.Textbox(
            visible=False, interactive=False, label="Link", lines=1, max_lines=1, buttons=["copy"], elem_id="link"
        )

        panel = ask_panel
        self.button.click(
            self.make, [*panel.inputs, panel.scene.known], self.address, preprocess=False, **AT_ONCE
        ).then(None, self.address, self.address, js=COPY, api_visibility="private")
        scene = panel.scene
        of_scene = [scene.known, scene.number, scene.row, *scene.suggestions]
        self.opened = [*panel.inputs[1:], *of_scene, panel.skip_vision, panel.notice]

    def make(self, name: str, picture: Any, question: str, *values: Any) -> dict[str, Any]:
        """The query of a link to what the page shows, for the browser to put behind its address."""
        *chosen, known = values
        model = self._pool.get(name)
        example, scene = self._name_of(picture, known, model)
        settings = settings_that_apply(self.ask_panel.settings(model, *chosen))
        other = None if model is self._pool.first else name
        query = to_query(Link(question.strip(), example, scene, settings, other))
        is_whole = example is not None or scene is not None
        return gr.update(value=query, visible=True, info=WITH_PICTURE if is_whole else WITHOUT_PICTURE)

    def open(self, request: gr.Request, model: PageModel, *, settings_only: bool = False) -> Changes:
        """The page as the query of its address wants it; no change where it wants nothing.

        Args:
            settings_only: keep picture and question, which the visitor may have changed since.
        """
        examples = {example.name: example for example in model.examples}
        link, ignored = from_query(dict(request.query_params), examples)
        if (link, ignored) == (Link(), ()):
            return {}
        panel = self.ask_panel
        shown, unfit = self.show_settings(link.settings, model)
        if settings_only:
            return shown
        changes: Changes = {}
        if link.example is not None:
            example = examples[link.example]
            changes |= {panel.picture: example.image, panel.question: example.question}
        elif link.scene is not None:
            changes |= panel.scene.draw(panel.picture, panel.question, link.scene, model.world)
        if link.question:
            changes[panel.question] = link.question
        sentence = f"{OPENED} {ignored_sentence((*ignored, *unfit))}".strip()
        return changes | shown | {panel.notice: status(sentence)}

    def _name_of(self, picture: Any, known: Known | None, model: PageModel) -> tuple[str | None, int | None]:
        """The example or the scene that a picture is, by its file; neither where it is the visitor's own."""
        digest = digest_of_upload(picture)
        if digest is None:
            return None, None
        name = self._by_digest.get(digest)
        if name in [example.name for example in model.examples]:
            return name, None
        return None, known.scene if known is not None and known.picture == digest else None

    def show_settings(self, settings: Mapping[str, Any], model: PageModel) -> tuple[Changes, list[str]]:
        """The controls as settings want them, and the names of those that this model's controls cannot show."""
        panel, method = self.ask_panel, self.ask_panel.method
        changes: Changes = {}
        unfit = []
        name = settings.get("method", SKIP_VISION)
        if name == OWN:
            name = first_choice(model.vlm)  # Skip-Vision, where that is the model's own
        if "method" in settings:
            changes |= method.controls(name, panel.skip_vision, model.vlm)
            changes[method.method]["value"] = name
        has_budget = name not in (OWN, SKIP_VISION)
        if settings.get("then_skip_vision", False) and has_budget:
            changes[method.then_skip_vision]["value"] = True
            changes[panel.skip_vision]["visible"] = True
        if "budget" in settings and has_budget:
            changes[method.budget]["value"] = round(100 * settings["budget"])
        for name, slider in (("num_retained", panel.retained), ("num_skipped", panel.skipped)):
            if name not in settings:
                continue
            if (count := slider_value(settings[name], model.most, model.in_shares)) is None:
                unfit.append(name)
            else:
                changes[slider] = gr.update(value=count)
        for name in ("retain", "text_attends_skipped", "max_new_tokens", "repeats"):
            if name in settings:
                changes[getattr(panel, name)] = gr.update(value=settings[name])
        return changes, unfit


def slider_value(count: int | float, most: float, in_shares: bool) -> int | None:
    """Where a slider stands for a count of tokens (int) or a share of them (float); None for a count on a slider of
    per cents.

    Args:
        most: the end of the slider.
        in_shares: whether the slider's unit is per cent.
    """
    if isinstance(count, float):
        return round(count * most)
    return None if in_shares else min(count, round(most))
