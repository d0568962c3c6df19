"""Link: an address that opens the page with this example or scene, this question and these settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from app.examples import Example
from app.links import Link, from_query, ignored_sentence, settings_that_apply, to_query
from app.panels import QUIET, Changes
from app.panels.ask import AskPanel
from app.panels.components import status
from app.runs.budgets import OWN, SKIP_VISION
from app.truth import Known, digest_of_upload
from skipcore.provenance import file_sha256

OPENED = "Opened from a link: press Ask."
WITH_PICTURE = "Picture, question and settings are in the link."
WITHOUT_PICTURE = (
    "Question and settings are in the link. Your picture is not: it stays between you and this page, "
    "and whoever opens the link chooses one."
)
# Only the browser knows the page's address. Copying may be forbidden, in a frame or without HTTPS: the box can be
# copied from by hand.
COPY = """(query) => {
    const address = location.origin + location.pathname + query;
    navigator.clipboard?.writeText(address).catch(() => {});
    return address;
}"""
_QUIET: dict[str, Any] = {"queue": False} | QUIET


class LinkPanel:
    """The button, and a box with the address once it was pressed.

    Args:
        examples: that a link can name.
    """

    def __init__(self, ask_panel: AskPanel, examples: list[Example]) -> None:
        self.ask_panel = ask_panel
        self.examples = {example.name: example for example in examples}
        self._by_digest = {file_sha256(example.image): example.name for example in examples}
        self.button = gr.Button("Copy link", size="sm", elem_id="copy-link")
        self.address = gr.Textbox(
            visible=False, interactive=False, label="Link", lines=1, max_lines=1, buttons=["copy"], elem_id="link"
        )

    def wire(self, page: gr.Blocks) -> None:
        """Let the button make a link, and the page open as its link says."""
        panel = self.ask_panel
        self.button.click(self.make, [*panel.inputs, panel.scene.known], self.address, preprocess=False, **_QUIET).then(
            None, self.address, self.address, js=COPY, api_visibility="private"
        )
        scene = panel.scene
        of_scene = [scene.known, scene.number, scene.row, *scene.suggestions]
        outputs = [*panel.inputs, *of_scene, panel.skip_vision, panel.notice]
        page.load(self.open, None, outputs, **_QUIET)

    def make(self, picture: Any, question: str, *values: Any) -> dict[str, Any]:
        """The query of a link to what the page shows, for the browser to put behind its address."""
        *chosen, known = values
        example, scene = self._name_of(picture, known)
        settings = settings_that_apply(self.ask_panel.settings(*chosen))
        query = to_query(Link(question.strip(), example, scene, settings))
        is_whole = example is not None or scene is not None
        return gr.update(value=query, visible=True, info=WITH_PICTURE if is_whole else WITHOUT_PICTURE)

    def is_link(self, request: gr.Request) -> bool:
        """Whether the address wants something of the page, which then must not show anything else at first."""
        return from_query(dict(request.query_params), self.examples) != (Link(), ())

    def open(self, request: gr.Request) -> Changes:
        """The page as the query of its address wants it; no change where it wants nothing."""
        link, ignored = from_query(dict(request.query_params), self.examples)
        if not self.is_link(request):
            return {self.ask_panel.notice: gr.update()}
        panel = self.ask_panel
        changes: Changes = {}
        if link.example is not None:
            example = self.examples[link.example]
            changes |= {panel.picture: example.image, panel.question: example.question}
        elif link.scene is not None:
            changes |= panel.scene.draw(panel.picture, panel.question, link.scene)
        if link.question:
            changes[panel.question] = link.question
        shown, unfit = self.show_settings(link.settings)
        sentence = f"{OPENED} {ignored_sentence((*ignored, *unfit))}".strip()
        return changes | shown | {panel.notice: status(sentence)}

    def _name_of(self, picture: Any, known: Known | None) -> tuple[str | None, int | None]:
        """The example or the scene that a picture is, by its file; neither where it is the visitor's own."""
        digest = digest_of_upload(picture)
        if digest is None:
            return None, None
        if digest in self._by_digest:
            return self._by_digest[digest], None
        return None, known.scene if known is not None and known.picture == digest else None

    def show_settings(self, settings: Mapping[str, Any]) -> tuple[Changes, list[str]]:
        """The controls as settings want them, and the names of those that this model's controls cannot show."""
        panel, method = self.ask_panel, self.ask_panel.method
        changes: Changes = {}
        unfit = []
        name = settings.get("method", SKIP_VISION)
        if name == OWN:
            name = method.first  # Skip-Vision, where that is the model's own
        if "method" in settings:
            changes |= method.controls(name, panel.skip_vision)
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
            if (count := slider_value(settings[name], slider.maximum, panel.in_shares)) is None:
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
