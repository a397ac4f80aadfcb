"""Examples for the estimate of need: luma of a frame, and the energy of what a model changes in each block.

No sharp picture is involved. Restoring takes long, so the examples are kept as files.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtdeblur import Deblurrer
from rtdeblur.backends.need import BLOCK
from rtdeblur.model import Model
from train.errors import DataError
from train.gate.frames import Luma, frames, luma_of

Report = Callable[[str], None]
"""Prints a line."""
_REPORT_EVERY = 200


@dataclass(frozen=True)
class Example:
    """A frame.

    Attributes:
        kind: name of its set.
        luma: (H, W) uint8, limited range; H and W multiples of BLOCK.
        energy: (H / BLOCK, W / BLOCK) float32, mean square of the change of luma, code values squared.
    """

    kind: str
    luma: Luma
    energy: NDArray[np.float32]


def prepare(
    model: Model, pairs: Sequence[Path], photos: Sequence[Path], seeds: int, folder: Path, report: Report
) -> list[Example]:
    """Restore frames, or read them from an earlier run.

    Args:
        model: restores the frames, as it runs for users: in int8 if it has that.
        pairs: see `train.gate.frames.frames`.
        photos: see there.
        seeds: how many times everything is drawn.
        folder: where the examples are kept; if it exists, they are read.
        report: prints a line about the progress.

    Raises:
        DataError: there are no pictures, or the folder has no examples.
    """
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        _restore(model, pairs, photos, seeds, unfinished, report)
        unfinished.replace(folder)
    found = [_read(path) for path in sorted(folder.glob("*.npz"))]
    if not found:
        raise DataError(f"no examples in {folder}; remove it, and add --pairs or --photos")
    return found


def _restore(
    model: Model, pairs: Sequence[Path], photos: Sequence[Path], seeds: int, folder: Path, report: Report
) -> None:
    count = 0
    with Deblurrer(model, gate="off", resolution="full", temporal="off") as deblurrer:
        for seed in range(1, seeds + 1):
            for kind, blurred, _ in frames(pairs, photos, seed=seed):
                before, after = luma_of(blurred), luma_of(deblurrer.restore(blurred))
                height, width = (side // BLOCK * BLOCK for side in before.shape)
                energy = energy_of(before[:height, :width], after[:height, :width])
                np.savez(folder / f"{count:06d}.npz", kind=kind, luma=before[:height, :width], energy=energy)
                count += 1
                if count % _REPORT_EVERY == 0:
                    report(f"restored {count} frames")


def energy_of(before: Luma, after: Luma) -> NDArray[np.float32]:
    """Mean square of the change in each block."""
    squares = np.square(after.astype(np.float32) - before)
    height, width = (side // BLOCK for side in before.shape)
    means: NDArray[np.float32] = squares.reshape(height, BLOCK, width, BLOCK).mean((1, 3))
    return means


def _read(path: Path) -> Example:
    with np.load(path) as stored:
        return Example(str(stored["kind"]), stored["luma"], stored["energy"])
