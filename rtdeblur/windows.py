"""Windows of a frame: where to compute, if only some of its tiles of about 128² are wanted."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rtdeblur.frames import Planes

Mask = NDArray[np.bool_]
"""(rows, columns) of tiles: True is wanted."""
Size = tuple[int, int]
Windows = list[tuple[Size, Mask]]
"""Corner of each window in the frame, and the tiles to take from it."""

TILE = 128
"""Side of a tile in pixels."""
_LEAST_TILE = 64
"""A shorter rest at the bottom or the right belongs to the tile before it."""
SIDE = 384
"""Side of a window, in pixels of luma: two tiles and a margin on each side."""
_MARGIN = 64
"""Surroundings that the network sees on each side of the tiles wanted, in pixels of luma."""
_MOST_OF_FRAME = 0.85
"""Windows of more than this share of the frame's area give way to the whole frame."""


@lru_cache(maxsize=64)
def tile_edges(length: int) -> NDArray[np.intp]:
    """Return where the tiles along a side begin."""
    edges = np.arange(0, max(1, length - _LEAST_TILE + 1), TILE)
    edges.flags.writeable = False
    return edges


def cheapest_windows(mask: Mask, size: Size, shapes: Iterable[Size]) -> tuple[Size, Windows | None]:
    """Choose the shape of windows that covers the least area of a frame.

    It depends on this frame alone, so that batches and resumed runs give the same bytes.

    Args:
        mask: tiles wanted.
        size: (height, width) of the frame.
        shapes: (height, width) of windows to choose from.

    Returns:
        (height, width) of the windows, and the windows; None if the whole frame costs less.
    """
    best: tuple[Size, Windows | None] = size, None
    least = size[0] * size[1]
    for shape in shapes:
        windows = _windows_over(mask, size, shape)
        if windows is not None and len(windows) * shape[0] * shape[1] < least:
            best, least = (shape, windows), len(windows) * shape[0] * shape[1]
    return best


def _windows_over(mask: Mask, size: Size, shape: Size) -> Windows | None:
    """Cover the tiles wanted with windows of one shape.

    Args:
        mask: tiles wanted.
        size: (height, width) of the frame.
        shape: (height, width) of a window.

    Returns:
        Corner of each window and the tiles to take from it; None if the whole frame costs less.
    """
    room = int(_MOST_OF_FRAME * size[0] * size[1] / (shape[0] * shape[1]))
    edges = [np.append(tile_edges(side), side) for side in size]
    left = mask.copy()
    found: Windows = []
    while left.any():
        if len(found) == room:
            return None
        row = int(left.any(axis=1).argmax())
        column = int(left[row].argmax())
        corner, spans = [], []
        for first, lines, side, length in zip((row, column), edges, size, shape, strict=True):
            start = max(0, min(int(lines[first]) - _MARGIN, side - length))
            end = side if start + length == side else start + length - _MARGIN
            spans.append(slice(first, int(np.searchsorted(lines, end, side="right")) - 1))
            corner.append(start)
        core = np.zeros_like(mask)
        core[tuple(spans)] = left[tuple(spans)]
        left &= ~core
        found.append(((corner[0], corner[1]), core))
    return found


def are_divisible(planes: Planes) -> bool:
    """Whether windows of luma correspond to whole samples of chroma."""
    sides = zip(planes[0].shape[2:], planes[1].shape[2:], strict=True)
    return all(luma % chroma == 0 and luma // chroma in (1, 2, 4) for luma, chroma in sides)


def window_slices(
    corner: Size, window: Size, size: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[slice, ...]:
    """Return where a window is in a plane of the frame.

    Args:
        corner: top left corner of the window in the frame, (row, column) in luma pixels.
        window: (height, width) of the window's luma.
        size: (height, width) of the frame's luma.
        shape: (height, width) of the plane, for which `are_divisible` holds.
    """
    ratios = [side // own for side, own in zip(size, shape, strict=True)]
    starts = [start // ratio for start, ratio in zip(corner, ratios, strict=True)]
    lengths = [side // ratio for side, ratio in zip(window, ratios, strict=True)]
    return tuple(slice(start, start + length) for start, length in zip(starts, lengths, strict=True))


def tile_slices(
    tile: Size, size: Size, shape: tuple[int, ...], corner: Size = (0, 0)
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return where a tile is in a plane of the frame, and in the same plane of a window.

    Args:
        tile: row and column of the tile.
        size: (height, width) of the frame's luma.
        shape: (height, width) of the plane.
        corner: top left corner of the window in the frame, (row, column) in luma pixels.
    """
    place, within = [], []
    for first, side, own, start in zip(tile, size, shape, corner, strict=True):
        edges = tile_edges(side)
        begin = int(edges[first]) * own // side
        end = int(edges[first + 1]) * own // side if first + 1 < len(edges) else own
        place.append(slice(begin, end))
        within.append(slice(begin - start * own // side, end - start * own // side))
    return tuple(place), tuple(within)
