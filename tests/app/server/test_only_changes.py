"""Outputs that an event leaves alone are not made anew; of the others the browser is sent the same as by Gradio."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from typing import Any

import gradio as gr
import pytest
from gradio.state_holder import SessionState

from app.server.only_changes import OnlyChanges

CHANGES: tuple[dict[int, Any], ...] = (
    {0: "new"},
    {3: 5, 1: gr.update(interactive=False)},
    {0: "new", 1: gr.update(value="x"), 2: gr.update(value="<b>", visible=False), 3: 5},
    {2: None},
)


@pytest.fixture
def page() -> gr.Blocks:
    with OnlyChanges(analytics_enabled=False) as page:
        page.load(lambda: None, None, [gr.HTML(), gr.Button(), gr.HTML(), gr.State(0)])
    return page


def sent(page: gr.Blocks, kind: type[gr.Blocks], given: Any) -> tuple[list[Any], SessionState]:
    """By a kind of page, for what an event gave; and what it then keeps for the visitor."""
    [event] = page.fns.values()
    state = SessionState(page)
    return asyncio.run(kind.postprocess_data(page, event, given, state)), state


def by_output(outputs: list[Any], changes: dict[int, Any]) -> dict[Any, Any]:
    return {outputs[number]: deepcopy(value) for number, value in changes.items()}  # Gradio empties an update


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_what_changes_is_sent_and_nothing_else_is_touched(page: gr.Blocks, changes: dict[int, Any]) -> None:
    outputs = next(iter(page.fns.values())).outputs
    ours, kept = sent(page, OnlyChanges, by_output(outputs, changes))
    theirs, _ = sent(page, gr.Blocks, by_output(outputs, changes))
    for number, output in enumerate(outputs):
        if number in changes:
            assert ours[number] == theirs[number]
        elif output.stateful:
            assert ours[number] is None and kept[output._id] == 0
        else:
            assert ours[number] == gr.skip() and kept[output._id] is output  # not made anew


@pytest.mark.parametrize("given", [["new", gr.update(), "<b>", 5], gr.skip()], ids=str)
def test_what_is_not_by_output_is_left_to_gradio(page: gr.Blocks, given: Any) -> None:
    assert sent(page, OnlyChanges, given)[0] == sent(page, gr.Blocks, given)[0]
