"""Reduced copies of frames, and the change that a model makes to one, added to the full frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from rtdeblur.ffmpeg.pixels import plane_views, video_frame
from rtdeblur.frames import Frame, Plane, Planes


class Scaler:
    """Scales frames down for the model, and its change up again; used by one thread."""

    def __init__(self) -> None:
        # Two, since each caches swscale's filters for one pair of sizes.
        self._down, self._up = VideoReformatter(), VideoReformatter()

    def down(self, frame: Frame, size: tuple[int, int]) -> Frame:
        """Scale a frame, keeping chroma subsampling, depth and time.

        Args:
            frame: any layout.
            size: (height, width) of the result.
        """
        return _scaled(self._down, frame, size)

    def with_change(self, frame: Frame, small: Frame, restored: Frame) -> Frame:
        """Add the change that a model made to a small copy of a frame.

        Pixels that the model left alone stay as they are, bit for bit.

        Args:
            frame: the whole picture.
            small: its copy, the model's input.
            restored: the model's output for that copy.
        """
        size = (frame.planes[0].shape[0], frame.planes[0].shape[1])
        after, before = (_scaled(self._up, part, size) for part in (restored, small))
        peak = frame.colour.peak
        y, u, v = (
            _changed(plane, b, a, peak)
            for plane, b, a in zip(frame.planes, before.planes, after.planes, strict=True)
        )
        return replace(frame, planes=(y, u, v))


def _scaled(reformatter: VideoReformatter, frame: Frame, size: tuple[int, int]) -> Frame:
    picture = video_frame(frame)
    scaled = reformatter.reformat(picture, size[1], size[0], interpolation=Interpolation.BICUBIC, threads=1)
    y, u, v = plane_views(scaled)
    planes: Planes = (y, u, v)
    if frame.planes[1].shape == (1, 1):  # gray keeps its one neutral sample
        planes = (y, frame.planes[1], frame.planes[2])
    return replace(frame, planes=planes)


def _changed(plane: Plane, before: Plane, after: Plane, peak: int) -> Plane:
    """`plane + after - before`, clipped to 0..peak; overwrites `before` and `after`.

    Unsigned and in place, which is several times faster than signed integers in new memory.
    """
    if plane is before:
        return plane
    changed = np.maximum(after, before)
    less = np.subtract(changed, after, out=after)
    more = np.subtract(changed, before, out=changed)
    room = np.subtract(peak, plane, out=before)
    np.minimum(more, room, out=more)
    np.add(plane, more, out=changed)
    np.minimum(less, changed, out=less)
    return np.subtract(changed, less, out=changed)
