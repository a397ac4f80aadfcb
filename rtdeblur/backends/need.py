"""How much the tiles of a frame need restoration: a graph of `train/networks/need.py`, in OpenVINO.

The graph sees luma and predicts, for squares of 16², the energy of the change that a model would make. A
model that minimises the squared error removes as much of it as its change has energy (see
`rtdeblur.resolution`), so this is what restoration is worth; and it can be learned without sharp pictures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtdeblur.backends.bundled import BundledGraph
from rtdeblur.frames import Colour, Plane
from rtdeblur.windows import tile_edges

BLOCK = 16
"""Side of the squares that the graph judges, in pixels."""
VISIBLE = 3.0
"""Squared error, in code values of 8 bits, whose removal is worthwhile: a tile that has it needs 0.5."""
_BLACK, _SPAN = 16, 219
"""Luma as the graph takes it: 8 bits, limited range."""


class NeedEstimate:
    """Estimates how much tiles need restoration.

    Attributes:
        sha256: checksum of the graph.
    """

    def __init__(self) -> None:
        self._graph = BundledGraph("need.onnx", "--gate off")
        self.sha256 = self._graph.sha256

    def of(self, luma: Plane, colour: Colour) -> list[NDArray[np.float64]]:
        """Estimate the need of the tiles of frames.

        Args:
            luma: (N, 1, H, W).
            colour: meaning of its code values.

        Returns:
            (rows, columns) of tiles for each frame: e / (e + VISIBLE), from 0 to 1, where e is the mean
            squared error that restoring a tile would remove.

        Raises:
            BackendError: OpenVINO failed.
        """
        height, width = luma.shape[2:]
        border = [(0, -height % BLOCK), (0, -width % BLOCK)]
        black, span = (0, colour.peak) if colour.matrix == "rgb" else colour.luma_range
        needs = []
        feeds = []
        for frame in luma[:, 0]:
            codes = np.multiply(frame, _SPAN / span, dtype=np.float32)
            codes += np.float32(_BLACK - black * _SPAN / span)
            feeds.append({"luma": np.pad(codes, border, mode="edge")[None, None]})
        for (energy,) in self._graph.run(feeds):
            removed = _over_tiles(energy[0], (height, width))
            needs.append(removed / (removed + VISIBLE))
        return needs

    def close(self) -> None:
        """Drop the compiled graph."""
        self._graph.close()


def _over_tiles(blocks: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float64]:
    """Average blocks over the tiles of a frame of (height, width)."""
    means = blocks.astype(np.float64)
    for axis, side in enumerate(size):
        starts = tile_edges(side) // BLOCK
        counts = np.diff(starts, append=means.shape[axis])
        means = np.add.reduceat(means, starts, axis) / counts.reshape((-1, 1) if axis == 0 else (1, -1))
    return means
