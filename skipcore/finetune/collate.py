"""Rows of a data set as a batch, right-padded, with labels on the answers alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from skipcore.errors import InputError
from skipcore.finetune.rows import Row
from skipcore.finetune.written import Written, write
from skipcore.model.inputs import open_picture
from skipcore.model.processing import in_a_sentence

NO_LABEL = -100
SPARE = Row(
    ({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]},
     {"role": "assistant", "content": [{"type": "text", "text": "."}]}),
    (Image.new("RGB", (56, 56), "gray"),),
)  # fmt: skip
"""A row with a picture that nothing is learned from."""


class Collator:
    """Make batches: one row of the batch for each row of the data, never packed, padded on the right, never cut.

    Args:
        processor: of the model, with a chat template.
        spare: whether a batch without any picture gets one more row, with a picture and without labels. Processes that
            share sharded weights (FSDP, ZeRO-3) wait for each other in the vision tower, so all must run it.
        max_length: tokens of a row at most, visual ones included; None: any number.
        max_pixels: larger pictures are made smaller first; None: as they are.
    """

    def __init__(
        self, processor: Any, spare: bool = False, max_length: int | None = None, max_pixels: int | None = None
    ) -> None:
        self.processor, self.spare, self.max_length, self.max_pixels = processor, spare, max_length, max_pixels
        self._of_sizes: dict[tuple[int, int], int] = {}

    def __call__(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """The model's inputs for some rows, with "labels" [batch, length]: −100 where nothing is learned.

        Rows with pictures come first: some processors fail otherwise.

        Raises:
            InputError: a picture cannot be read, or a row cannot be written or is too long.
        """
        is_spare = self.spare and not any(row.images for row in rows)
        ordered = sorted([SPARE, *rows] if is_spare else rows, key=lambda row: not row.images)
        written = [write(self.processor, row.messages) for row in ordered]
        batch, starts = self._read(written, [self._open(row) for row in ordered])
        length = batch["input_ids"].shape[1]
        if self.max_length is not None and length > self.max_length:
            raise InputError(
                f"A row takes {length:,} tokens, more than --max-length {self.max_length:,}: leave it out, raise the "
                "limit, or make its pictures smaller with --max-pixels."
            )
        labels = torch.full_like(batch["input_ids"], NO_LABEL)
        first, end = starts.unbind(-1)
        for row, own in enumerate(written):
            for begins, ends in own.answers:
                learned = (first[row] < ends) & (end[row] > begins) & (end[row] > first[row])
                labels[row, learned] = batch["input_ids"][row, learned]
        if is_spare:
            labels[0] = NO_LABEL
        return {**batch, "labels": labels}

    def length(self, row: Row, sizes: Sequence[tuple[int, int]]) -> int:
        """How many tokens a row takes alone; its pictures are not read.

        Args:
            sizes: width and height of each picture in pixels. Where a picture's tokens depend on how many there are,
                what they would take alone counts.
        """
        text = write(self.processor, row.messages).text
        words = self.processor.tokenizer(text, add_special_tokens=self._adds_special(text))["input_ids"]
        return len(words) + sum(self._gained(size) for size in sizes)

    def _gained(self, size: tuple[int, int]) -> int:
        """Tokens that a picture of a size takes beyond its placeholder."""
        if size not in self._of_sizes:
            mark, options = self.processor.image_token, {"add_special_tokens": False}
            blank = Image.new("RGB", size)
            picture = smaller(blank, self.max_pixels) if self.max_pixels else blank
            whole = self.processor(text=[mark], images=[[picture]], return_tensors="pt", **options)["input_ids"]
            self._of_sizes[size] = whole.shape[1] - len(self.processor.tokenizer(mark, **options)["input_ids"])
        return self._of_sizes[size]

    def _adds_special(self, text: str) -> bool:
        """Whether the tokenizer adds its special tokens, as transformers has it: unless the template begins by one."""
        begin = self.processor.tokenizer.bos_token
        return not (begin and text.startswith(begin))

    def _open(self, row: Row) -> list[Image.Image]:
        pictures = [open_picture(image) for image in row.images]
        return [smaller(picture, self.max_pixels) for picture in pictures] if self.max_pixels else pictures

    def _read(self, written: list[Written], pictures: list[list[Image.Image]]) -> tuple[dict[str, Tensor], Tensor]:
        """The processor's tensors, and where each token stands in the written text [batch, length, 2]."""
        with in_a_sentence("The model's processor cannot read a row", "check its pictures and its text with --dry-run"):
            batch = dict(
                self.processor(
                    text=[own.text for own in written],
                    images=pictures if any(pictures) else None,
                    padding=True,
                    padding_side="right",
                    add_special_tokens=self._adds_special(written[0].text),
                    return_tensors="pt",
                    return_offsets_mapping=True,
                    return_text_replacement_offsets=True,
                )
            )
        offsets, replaced = batch.pop("offset_mapping"), batch.pop("text_replacement_offsets", None)
        if not isinstance(replaced, list):  # InternVL has an empty tensor where there is no picture
            replaced = []
        for own, placeholders in zip(offsets, replaced, strict=False):
            moved = torch.zeros_like(own)
            for each in placeholders:  # the difference of their ends is what all placeholders so far have gained
                begin, end = each["new_span"]
                moved[own[:, 0] >= end] = end - each["span"][1]
                own[(own[:, 0] >= begin) & (own[:, 0] < end)] = 0
            own -= moved
        return {name: value for name, value in batch.items() if isinstance(value, Tensor)}, offsets


def smaller(picture: Image.Image, pixels: int) -> Image.Image:
    """The picture with so many pixels at most, its sides in proportion."""
    if picture.width * picture.height <= pixels:
        return picture
    scale = (pixels / (picture.width * picture.height)) ** 0.5
    size = max(1, int(picture.width * scale)), max(1, int(picture.height * scale))
    return picture.resize(size, Image.Resampling.BICUBIC)
