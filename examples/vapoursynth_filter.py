"""Run a plain ONNX file of `python -m train export --plain` in VapourSynth, with its filter for OpenVINO.

    pip install vapoursynth vapoursynth-mlrt-ov pillow      # wheels for Python 3.12 and later
    python vapoursynth_filter.py MODEL IN OUT

In a script of yours, the clip comes from a source filter; the rest is the same.
"""

from __future__ import annotations

import sys

import numpy as np
import vapoursynth as vs
from numpy.typing import NDArray
from PIL import Image


def clip_of(picture: NDArray[np.uint8]) -> vs.VideoNode:
    """A clip of one frame: float RGB from 0 to 1."""

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        for plane in range(3):
            np.asarray(frame[plane])[:] = picture[..., plane] / np.float32(255)
        return frame

    height, width, _ = picture.shape
    blank = vs.core.std.BlankClip(format=vs.RGBS, width=width, height=height, length=1)
    return vs.core.std.ModifyFrame(blank, blank, fill)


def main(model: str, source: str, output: str) -> None:
    clip = clip_of(np.asarray(Image.open(source).convert("RGB")))
    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # OpenVINO would take bfloat16 where it is faster
    restored = vs.core.ov.Model(clip, network_path=model, config=lambda: exact).get_frame(0)
    rgb = np.stack([np.asarray(restored[plane]) for plane in range(3)], axis=2)
    Image.fromarray(np.rint(rgb.clip(0, 1) * 255).astype(np.uint8)).save(output)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python vapoursynth_filter.py MODEL IN OUT")
    main(*sys.argv[1:])
