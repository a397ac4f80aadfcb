"""A clip to measure with."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av

_RATE = 30


def write_test_clip(path: Path, height: int, width: int, frames: int) -> None:
    """Write a moving test picture with noise, 30 fps, H.264, 4:2:0."""
    source = av.open(f"testsrc2=size={width}x{height}:rate={_RATE},noise=alls=8:allf=t", format="lavfi")
    with av.open(str(path), "w") as out:
        options = {"preset": "veryfast", "crf": "20"}
        stream = out.add_stream("libx264", rate=Fraction(_RATE), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index, frame in enumerate(source.decode(video=0)):
            if index == frames:
                break
            picture = frame.reformat(format="yuv420p")
            picture.pts, picture.time_base = index, Fraction(1, _RATE)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    source.close()
