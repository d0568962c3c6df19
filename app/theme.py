"""Gradio's variables for the calm look of the page; `assets/theme.css` does the rest."""

from __future__ import annotations

import gradio as gr

from app import ASSETS

CSS = ASSETS / "theme.css"


def theme() -> gr.themes.Base:
    """Paper and ink, by day and by night; fonts that come with Gradio, so that nothing is fetched from elsewhere."""
    look = gr.themes.Base(
        primary_hue=gr.themes.colors.neutral,
        neutral_hue=gr.themes.colors.neutral,
        radius_size=gr.themes.sizes.radius_sm,
        # 700, not 600: the semi-bold file that Gradio ships lacks most letters
        font=(gr.themes.GoogleFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
    )
    colors = {name: day for name, (day, _) in _COLORS.items()}
    return look.set(**colors, **{f"{name}_dark": night for name, (_, night) in _COLORS.items()}, **_PLAIN)


_PAPER = ("#FBFAF7", "#131517")
_RAISED = ("#FFFFFF", "#1B1E21")
_INK = ("#17191C", "#ECEBE6")
_SOFT = ("#5A5F66", "#A4A8AE")
_LINE = ("#E3E1DA", "#2E3236")

_COLORS = {
    "body_background_fill": _PAPER,
    "body_text_color": _INK,
    "body_text_color_subdued": _SOFT,
    "background_fill_primary": _RAISED,
    "background_fill_secondary": _PAPER,
    "border_color_primary": _LINE,
    "block_background_fill": _RAISED,
    "block_border_color": _LINE,
    "block_label_background_fill": _RAISED,
    "block_label_text_color": _SOFT,
    "block_title_text_color": _INK,
    "block_info_text_color": _SOFT,
    "input_background_fill": _RAISED,
    "input_border_color": _LINE,
    "input_border_color_focus": _INK,
    "input_placeholder_color": _SOFT,
    "button_primary_background_fill": _INK,
    "button_primary_background_fill_hover": ("#33373C", "#FFFFFF"),
    "button_primary_text_color": ("#FFFFFF", "#131517"),
    "button_primary_border_color": _INK,
    "button_secondary_background_fill": _RAISED,
    "button_secondary_background_fill_hover": _PAPER,
    "button_secondary_text_color": _INK,
    "button_secondary_border_color": _LINE,
    "color_accent_soft": ("#E6F4EF", "#12342B"),
    "slider_color": _INK,
    "checkbox_background_color": _RAISED,
    "checkbox_background_color_selected": _INK,
    "checkbox_border_color": ("#8C9096", "#8C9096"),
    "checkbox_border_color_selected": _INK,
    "checkbox_label_background_fill": _RAISED,
    "checkbox_label_background_fill_selected": _PAPER,
    "checkbox_label_text_color": _INK,
    "checkbox_label_text_color_selected": _INK,
}

_PLAIN = {
    "block_shadow": "none",
    "button_border_width": "1px",
    "input_shadow": "none",
    "button_primary_shadow": "none",
    "button_secondary_shadow": "none",
    "checkbox_label_shadow": "none",
    "block_label_shadow": "none",
    "block_title_text_weight": "600",
}
