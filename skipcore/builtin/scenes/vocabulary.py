"""The words of the scenes' world, beside the things: colors, shapes, what signs say, and numbers."""

from __future__ import annotations

from skipcore.builtin.scenes.scene_record import Rgb

COLORS: dict[str, Rgb] = {
    "red": (222, 40, 44),
    "green": (40, 165, 70),
    "blue": (36, 92, 228),
    "yellow": (250, 212, 34),
    "teal": (12, 142, 138),
    "gray": (130, 134, 140),
    "brown": (142, 76, 44),
    "black": (28, 28, 32),
    "orange": (248, 128, 26),
    "purple": (140, 58, 222),
    "pink": (246, 126, 190),
    "white": (250, 250, 250),
}
SHAPE_KINDS = ("circle", "rectangle", "triangle", "star", "diamond", "ring", "cross")
SIGN_WORDS = (
    "stop", "open", "closed", "exit", "sale", "taxi", "hotel", "cafe", "push", "pull", "go", "wait", "free", "news",
    "bank", "park", "zoo", "help", "milk", "wifi", "lunch", "toys", "books", "fish", "ice", "hello", "slow", "danger",
    "quiet", "enter", "garden", "school",
)  # fmt: skip
COUNT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
