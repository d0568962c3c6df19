"""A page on which a change costs as much as what it changes."""

from __future__ import annotations

from copy import copy
from typing import Any

import gradio as gr


class OnlyChanges(gr.Blocks):
    """Gradio makes every output of an event anew for each change that comes, and keeps it for the visitor: also those
    that stay as they are. While an answer is written that takes the model's time, ten times a second."""

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """As Gradio's, of the outputs alone that an event has a change for; "no change" for the others.

        Args:
            predictions: what the event gave; by output where it is like `app.panels.Changes`.
        """
        if not isinstance(predictions, dict) or not any(isinstance(key, gr.blocks.Block) for key in predictions):
            return await super().postprocess_data(block_fn, predictions, state)
        changed = copy(block_fn)
        changed.outputs = [output for output in block_fn.outputs if output in predictions]
        sent = await super().postprocess_data(changed, predictions, state)
        by_output = dict(zip(changed.outputs, sent, strict=True))
        # nothing of a state is ever sent
        return [by_output.get(output, None if output.stateful else gr.skip()) for output in block_fn.outputs]
