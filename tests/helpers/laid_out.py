"""What of a page's layout a visitor sees."""

from __future__ import annotations

import gradio as gr


def visible_blocks(page: gr.Blocks) -> list[gr.blocks.Block]:
    """The blocks that are not hidden, nor in anything that is."""
    return [block for block in page.blocks.values() if _is_visible(block)]


def _is_visible(block: gr.blocks.Block | None) -> bool:
    return block is None or (getattr(block, "visible", True) is not False and _is_visible(block.parent))
