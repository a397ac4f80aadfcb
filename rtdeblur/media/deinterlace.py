"""Deinterlacing with FFmpeg's bwdif."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, TypeAlias

from av.error import BlockingIOError, EOFError
from av.filter import Graph
from av.video.frame import VideoFrame

Deinterlacing: TypeAlias = Literal["frame", "field"]
"""One picture per frame, or one per field (twice as many, each with its own timestamp)."""

_MODES = {"frame": "send_frame", "field": "send_field"}


class Deinterlacer:
    """Turns planar interlaced frames into progressive ones, with a delay of one frame.

    Args:
        kind: one picture per frame or per field.
        time_base: time base of the input frames.

    Attributes:
        time_base: time base of the pictures, half that of the frames.
        pictures_each: pictures per frame.
    """

    def __init__(self, kind: Deinterlacing, time_base: Fraction) -> None:
        self.time_base = time_base / 2
        self.pictures_each = 2 if kind == "field" else 1
        self._options = f"mode={_MODES[kind]}:parity=auto:deint=all"
        self._frame_time_base = time_base
        self._layout: tuple[object, ...] = ()
        self._graph: Graph | None = None

    def push(self, frame: VideoFrame) -> list[VideoFrame]:
        """Push a frame; return the pictures that are complete now."""
        layout = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range)
        done = self.flush() if layout != self._layout else []
        if self._graph is None:
            self._graph, self._layout = self._configured(frame), layout
        self._graph.vpush(frame)
        return done + self._pull(self._graph)

    def flush(self) -> list[VideoFrame]:
        """Return the pictures still waiting for a next frame."""
        graph, self._graph = self._graph, None
        if graph is None:
            return []
        graph.vpush(None)
        return self._pull(graph)

    def _configured(self, frame: VideoFrame) -> Graph:
        graph = Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=self._frame_time_base
        )
        graph.link_nodes(source, graph.add("bwdif", self._options), graph.add("buffersink")).configure()
        return graph

    def _pull(self, graph: Graph) -> list[VideoFrame]:
        pictures = []
        while True:
            try:
                pictures.append(graph.vpull())
            except (BlockingIOError, EOFError):
                return pictures
