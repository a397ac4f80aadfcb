"""Parity gate: compares each device's result on a test picture with the CPU's in float32, once per layout.

Passed tests are recorded in a file, so only the first use of a device takes longer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np

from rtdeblur import cache, files
from rtdeblur.decode import DecodeError, from_json
from rtdeblur.errors import BackendError
from rtdeblur.frames import Colour, FrameBatch, Plane
from rtdeblur.model import Model
from rtdeblur.parity import LEAST_PSNR, worst_psnr

_MOST_BYTES = 1 << 20


def test_picture(luma: tuple[int, ...], chroma: tuple[int, ...], colour: Colour) -> FrameBatch:
    """Return a batch of one picture with ramps, edges, fine texture and noise, identical on every machine."""
    rng = np.random.default_rng(0)

    def plane(size: tuple[int, ...], low: float, high: float) -> Plane:
        y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
        y, x = y / max(size), x / max(size)
        waves = np.sin(40 * x + 25 * y) + np.sin(300 * x * (x + y)) + np.sign(np.sin(17 * (x - 2 * y)))
        picture = x + y + 0.25 * waves + rng.normal(0, 0.03, size)
        span = np.ptp(picture) or 1.0
        code = low + (picture - picture.min()) / span * (high - low)
        dtype = np.uint8 if colour.bit_depth == 8 else np.uint16
        samples: Plane = np.rint(code * colour.peak).astype(dtype)
        return samples[None, None]

    planes = (plane(luma, 0.07, 0.92), plane(chroma, 0.3, 0.7), plane(chroma, 0.35, 0.65))
    return FrameBatch(planes, (0,), Fraction(1), colour, (None,))


class Record:
    """Record of the devices and layouts for which a test passed, in a file; safe to lose.

    Args:
        path: the file; None stores nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._passed: dict[str, float] = {}
        with suppress(OSError, DecodeError):
            if path:
                self._passed = from_json(dict[str, float], files.read_own(path, _MOST_BYTES))

    def __contains__(self, case: str) -> bool:
        return case in self._passed

    def add(self, case: str, likeness: float) -> None:
        """Record that a case passed, with its PSNR in dB."""
        self._passed[case] = min(round(likeness, 1), 99.0)
        with suppress(OSError):
            if self._path:
                files.write_whole(self._path, json.dumps(self._passed).encode())


def check(
    restore: Callable[[FrameBatch], FrameBatch],
    exact: Callable[[FrameBatch], FrameBatch],
    like: FrameBatch,
    model: Model,
    where: str,
) -> None:
    """Test a device once per layout of planes; passed tests are recorded in the user's cache.

    Args:
        restore: runs the model on the device, on a batch of one.
        exact: runs it on the CPU in float32 (`rtdeblur.backends.openvino.exact_result`).
        like: a batch with the layout and colour to test.
        model: the model.
        where: name for messages and the record: backend, version, precision and device.

    Raises:
        BackendError: the device's result differs too much from the CPU's.
    """
    luma, chroma = (plane.shape[2:] for plane in like.planes[:2])
    passed = Record(_folder() / f"{model.manifest.sha256[:16]}.json")
    case = f"{where}, {luma} {chroma} of {like.colour.bit_depth} bits"
    if case in passed:
        return
    picture = test_picture(luma, chroma, like.colour)
    parity = worst_psnr(restore(picture).planes, exact(picture).planes, like.colour.peak)
    if not parity >= LEAST_PSNR:
        raise BackendError(
            f"{where} restores the test picture at {parity:.1f} dB of the CPU's float32 result, "
            f"expected {LEAST_PSNR:.0f} dB or more",
            "try --precision fp32, or --device cpu",
        )
    passed.add(case, parity)


def _folder() -> Path:
    """Return the folder of the records, readable by the user only."""
    folder = cache.folder() / "parity"
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
