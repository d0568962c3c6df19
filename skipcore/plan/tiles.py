"""Tiles: the rectangles of visual tokens that a picture makes, and their prompt indices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from skipcore.errors import InputError

Grid = tuple[int, int]


class Kind(IntEnum):
    """What a token of the prompt is."""

    TEXT = 0
    IMAGE = 1
    VIDEO = 2


@dataclass(frozen=True)
class Tile:
    """A part of a picture, or the whole of it, as a rectangle of visual tokens; of a video, one frame.

    Attributes:
        grid: rows and columns.
        ends_rows: each row is followed by a token that shows nothing of the picture ("newline"). Such tokens count as
            text.
        after: how many such tokens follow the tile.
    """

    grid: Grid
    ends_rows: bool = False
    after: int = 0

    @property
    def num_tokens(self) -> int:
        """Visual tokens."""
        return self.grid[0] * self.grid[1]

    @property
    def shows(self) -> Tensor:
        """[tokens] bool: for each token of the tile in the prompt, whether it shows a part of the picture."""
        rows, columns = self.grid
        shown = torch.ones(rows, columns + self.ends_rows, dtype=torch.bool)
        shown[:, columns:] = False
        return torch.cat([shown.flatten(), torch.zeros(self.after, dtype=torch.bool)])


Tiles = tuple[Tile, ...]
"""One picture, or one video."""


@dataclass(frozen=True)
class PlacedPicture:
    """One picture in one prompt.

    Attributes:
        tiles: its rectangles, in the order of its tokens.
        positions: [N] prompt indices of its visual tokens.
        kind: picture or video.
        number: among all pictures, or all videos, of the batch.
    """

    tiles: Tiles
    positions: Tensor
    kind: Kind = Kind.IMAGE
    number: int = 0


def find_pictures(kinds: Tensor, pictures: Mapping[Kind, Sequence[Tiles]]) -> list[list[PlacedPicture]]:
    """Find the pictures of a batch, prompt by prompt.

    Args:
        kinds: [batch, prompt] the `Kind` of each token.
        pictures: all pictures and all videos, each in the order of the batch.

    Raises:
        InputError: the pictures make other visual tokens than the prompts hold.
    """
    waiting = {kind: enumerate(pictures.get(kind, ())) for kind in (Kind.IMAGE, Kind.VIDEO)}
    found = [list(_in_prompt(row, waiting)) for row in kinds]
    if any(next(left, None) is not None for left in waiting.values()):
        raise misfit()
    return found


def _in_prompt(kinds: Tensor, waiting: Mapping[Kind, Iterator[tuple[int, Tiles]]]) -> Iterator[PlacedPicture]:
    indices = {kind: (kinds == kind).nonzero().flatten() for kind in waiting}
    while left := [kind for kind in indices if len(indices[kind])]:
        kind = min(left, key=lambda kind: int(indices[kind][0]))
        if (following := next(waiting[kind], None)) is None:
            raise misfit()
        number, tiles = following
        shows = torch.cat([tile.shows for tile in tiles])
        if len(shows) > len(indices[kind]):
            raise misfit()
        yield PlacedPicture(tiles, indices[kind][: len(shows)][shows], kind, number)
        indices[kind] = indices[kind][len(shows) :]


def misfit() -> InputError:
    """The error for pictures that make other visual tokens than the prompts hold."""
    return InputError(
        "The pictures do not fit the visual tokens in the prompts: pass whole pictures, each with all of its tokens in "
        "its prompt."
    )
