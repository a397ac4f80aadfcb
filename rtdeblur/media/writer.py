"""Writer of video files: encodes the restored frames and copies everything else from the source."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Self

from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import ArgumentError, FFmpegError, InvalidDataError, PatchWelcomeError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from rtdeblur.device import DeviceBatch
from rtdeblur.errors import ClosedPipeError, OutputError
from rtdeblur.ffmpeg.avi import set_starts
from rtdeblur.ffmpeg.container import library_version, name_of, open_output, reason
from rtdeblur.ffmpeg.damage import PACKETS, Damage
from rtdeblur.ffmpeg.edit_units import silence, unfilled
from rtdeblur.ffmpeg.formats import format_of, traits_of
from rtdeblur.ffmpeg.packets import AnyPacket, padded
from rtdeblur.ffmpeg.targets import PartFile, StreamTarget, is_stream, open_target
from rtdeblur.frames import FrameBatch, Interlude, Plane
from rtdeblur.media.clock import OutputClock
from rtdeblur.media.codecs import choose
from rtdeblur.media.encoder import Encoding, fit, put_planes
from rtdeblur.media.encoder_traits import Quality
from rtdeblur.media.losses import losses
from rtdeblur.media.resume import Passage, Segments, segment_frames
from rtdeblur.media.resume.job_folder import JobFolder, identity_of, open_job
from rtdeblur.media.source import Described
from rtdeblur.media.streams import NotKept, Track, add_copy
from rtdeblur.media.tags import copy_tags, muxer_options, video_tags
from rtdeblur.system import usable_cores

# Some containers round to a millisecond anyway, which is negligible.
_UNEVEN = Fraction(1, 500)
# How early audio may be: EBU R37.
_OUT_OF_STEP = Fraction(1, 25)
_PACKET_ERRORS = (ArgumentError, InvalidDataError, PatchWelcomeError)


class FileWriter:
    """Writes a restored copy of a `FileReader`'s file (a `FrameSink`).

    Everything that can be refused is refused here, before any frame is restored.

    Args:
        reader: reader of the frames; provides its facts now, and its remaining packets at the end.
        path: the output, '-' for standard output.
        codec: FFmpeg's name of an encoder, a common codec name, or 'auto' (see `rtdeblur.media.codecs`).
        crf: the encoder's quality number, lower is better; None uses `quality`.
        preset: encoder preset; None for the default.
        quality: small, balanced, high or lossless; None for balanced.
        overwrite: replace an existing file.
        format_name: FFmpeg's name of the container, or its usual extension; None uses the path's extension.
        resume: None encodes in one go. Otherwise, after `begin`, finished segments survive a killed program;
            True continues those of an earlier run, and keeps them if this one fails.

    Attributes:
        encoding: chosen codec, pixel format and options.
        warnings: one line per property that the output does not keep.
        damage: packets of other streams that the muxer refused.
        kept: number of frames kept for another run, known once closed.

    Raises:
        UsageError: invalid request: unknown container or codec, existing output, the input itself, or
            unfinished work without `resume` or `overwrite`.
        FinishedError: there is nothing to resume, since the output is complete.
        OutputError: the folder is not writable, or the encoder refuses.
    """

    def __init__(
        self,
        reader: Described,
        path: str | Path,
        *,
        codec: str = "auto",
        crf: float | None = None,
        preset: str | None = None,
        quality: Quality | None = None,
        overwrite: bool = False,
        format_name: str | None = None,
        resume: bool | None = None,
    ) -> None:
        self._path = Path(path)
        source = reader.source
        self._source, self._remaining_packets = source, reader.remaining_packets
        self.damage = Damage(source=str(source.path), strict=source.strict)
        self.warnings: list[str] = []
        self.kept = 0
        format_name = format_of(self._path, format_name)
        self._container: OutputContainer | None = None
        self._file: PartFile | StreamTarget | None = None
        self._job: JobFolder | None = None
        self._segments: Segments | None = None
        self._lock = threading.RLock()
        self._resume, self._overwrite = bool(resume), overwrite
        try:
            if resume is not None:
                self._job = open_job(self._path, source.path, resume=resume, overwrite=overwrite)
            part = self._job.part if self._job else None
            self._file = open_target(self._path, source=source.path, overwrite=overwrite, part=part)
            self.encoding: Encoding = choose(source, format_name, codec, crf, preset, quality)
            options = muxer_options(source, format_name, seekable=not is_stream(self._path))
            self._container = open_output(self._file.url, format_name, options)
            self._tracks: dict[int, Track] = {}
            self._video, self._encoder = self._add_streams(self._container)
            self._container.start_encoding()
        except (FFmpegError, ValueError) as error:
            self.close()
            raise OutputError(f"cannot write {str(path)!r}: {reason(error)}") from error
        except BaseException:
            self.close()
            raise
        self._track = Track(self._video)
        self._time_base = Fraction(self._encoder.time_base)
        relative = traits_of(name_of(self._container)).starts_in_header
        self.clock = OutputClock(self._time_base, source.zero, relative=relative)

    def begin(self, restoration: Mapping[str, str]) -> int:
        """Start keeping finished segments; call before the first `write`, if `resume` is not None.

        Args:
            restoration: names and values of everything that affects the restored pictures.

        Returns:
            Number of frames already finished.

        Raises:
            UsageError: the unfinished work belongs to another job.
        """
        with self._lock, self._errors():
            if self._job is None:
                return 0
            kept = self._job.open(self.identity(restoration), resume=self._resume, overwrite=self._overwrite)
            self.warnings += self._job.warnings
            picture = self._source.picture
            length = segment_frames(picture.height, picture.width)
            self._segments = Segments(self._job, kept, self.new_encoder, length, self._time_base)
            return sum(segment.frames for segment in kept.values())

    def identity(self, restoration: Mapping[str, str]) -> dict[str, str]:
        """Describe everything that affects the bytes of the encoded video.

        Args:
            restoration: see `begin`.
        """
        return {**identity_of(self._source.path), **self._identity(), **restoration}

    def new_encoder(self) -> VideoCodecContext:
        """Create an encoder for a segment, set up like every other segment's."""
        return self.encoding.new_encoder(name_of(self._opened()), self._source)

    def needs(self, index: int) -> bool:
        """Whether a frame must be restored; False if an earlier run finished it."""
        return self._segments is None or self._segments.needs(index)

    def write(self, batch: FrameBatch | DeviceBatch | Interlude) -> None:
        """Encode the frames of a batch, each after the packets that precede it.

        Raises:
            OutputError: the encoder fails, or the disk is full.
        """
        with self._lock:
            if isinstance(batch, Interlude):
                with self._errors():
                    if self._segments is not None:
                        self._pass(self._segments.cut())  # the packets of a long gap would fill memory
                    return self._mux(batch.carrier)
            for index, carried in enumerate(batch.carriers):
                with self._errors():
                    self._opened()
                    pts = self.stamp(carried.frame, batch.pts[index] * batch.time_base)
                    planes = [p[index, 0] for p in batch.planes] if isinstance(batch, FrameBatch) else None
                    picture = partial(self.picture, carried.frame, planes)
                    if self._segments is None:
                        self._mux(carried.packets)
                        self._mux_video(self._encoder.encode(picture()))
                    else:
                        self._pass(self._segments.add(picture, pts, carried.packets))

    def commit(self) -> None:
        """Flush encoder and container, and rename the file to its final name.

        Raises:
            OutputError: the encoder fails, or the disk is full; no output appears.
        """
        with self._lock, self._errors():
            container = self._opened()
            if self._segments is None:
                self._mux_video(self._encoder.encode(None))
            else:
                self._pass(self._segments.cut())
            self._mux(self._remaining_packets())
            if traits_of(name_of(container)).edit_units:
                self._fill_units(container)
            self._container = None
            container.close()
            if traits_of(name_of(container)).starts_in_header:
                self._write_starts()
            elif traits_of(name_of(container)).begins_together:
                self._warn_of_starts(name_of(container))
            if self._job is not None:
                self._job.commit()
            assert self._file is not None
            self._file.commit()
            self._resume = False

    def keep(self) -> None:
        """Keep finished segments if the writer is closed early, as if the program had been killed."""
        self._resume = True

    def close(self) -> None:
        """Release everything and discard uncommitted output; thread-safe, and may be called twice."""
        with self._lock:
            container, self._container = self._container, None
            if container is not None:
                with suppress(FFmpegError):  # trailer of a discarded file
                    container.close()
            if self._file is not None:
                self._file.discard()
            if self._segments is not None:
                self._segments.close()
            if self._job is not None:
                self.kept = self._job.close(keep=self._resume)

    def abandon(self) -> None:
        """Remove the files that `close` would remove, without waiting for other threads.

        For a process that is about to end: the writer is unusable afterwards.
        """
        if self._file is not None:
            self._file.discard()
        if self._job is not None:
            self.kept = self._job.close(keep=self._resume)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _identity(self) -> dict[str, str]:
        """Return everything that affects the encoded bytes, besides the pictures."""
        encoding, source = self.encoding, self._source
        cores = usable_cores()
        return {
            "rtdeblur": version("rtdeblur"),
            "av": library_version(),
            "part": f"{source.zero} to {source.end}",
            "decoder": source.device,
            "container": name_of(self._opened()),
            "time base": str(self._time_base),
            "codec": encoding.codec,
            "pixel format": encoding.pix_fmt,
            "encoder options": " ".join(f"{k}={v}" for k, v in sorted(encoding.options.items())),
            "frames a segment": str(segment_frames(source.picture.height, source.picture.width)),
            "processor cores": str(cores),  # the number of encoder threads affects the bytes
        }

    def _opened(self) -> OutputContainer:
        if self._container is None:
            raise OutputError(f"cannot write {str(self._path)!r}: it has already been closed")
        return self._container

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError as error:
            raise ClosedPipeError(f"the reader of {str(self._path)!r} has gone") from error
        except (FFmpegError, OSError) as error:  # of the container or of a segment
            raise OutputError(f"cannot write {str(self._path)!r}: {reason(error)}") from error

    def _add_streams(self, container: OutputContainer) -> tuple[VideoStream, VideoCodecContext]:
        source = self._source
        self.warnings += copy_tags(container, source)
        traits = traits_of(name_of(container))
        streams = source.streams
        if traits.edit_units:
            streams = (source.video, *(s for s in streams if s.index != source.video.index))
        elif not traits.default_video:
            videos = (s for s in streams if s.type == "video")
            mainly = iter(sorted(videos, key=lambda s: s.index != source.video.index))
            streams = tuple(next(mainly) if s.type == "video" else s for s in streams)
        for stream in streams:
            if stream.index == source.video.index:
                video = self._add_video(container)
                continue
            copy = add_copy(container, stream, source, seekable=not is_stream(self._path))
            if isinstance(copy, Track):
                self._tracks[stream.index] = copy
            elif isinstance(copy, NotKept):
                self.warnings.append(str(copy))
        return video

    def _add_video(self, container: OutputContainer) -> tuple[VideoStream, VideoCodecContext]:
        source = self._source
        video, encoder = self.encoding.add_to(container, source)
        video.disposition = source.video.disposition
        video.metadata.update(video_tags(source))
        matrix = source.picture.display_matrix
        if matrix is not None:
            video.set_display_matrix(matrix)
            if not traits_of(name_of(container)).rotation:
                self.warnings.append(
                    f"the rotation is not kept: {name_of(container)} cannot store it; .mp4 can"
                )
        self.warnings += losses(self.encoding, source, name_of(container))
        return video, encoder

    def stamp(self, frame: VideoFrame, seconds: Fraction) -> int:
        """Set a frame's timestamp in the output, and return it.

        Args:
            frame: the decoded frame.
            seconds: its time in the source.
        """
        unit = self._time_base
        pts, late = self.clock.stamp(seconds)
        if abs(late) > _UNEVEN:
            where = f"{self.encoding.codec} in {name_of(self._opened())}"
            self._warn_once(f"frame times are rounded to {float(unit):.3g} s by {where}; .mkv keeps them")
        frame.duration = round(frame.duration * Fraction(frame.time_base or unit) / unit)
        frame.pts, frame.time_base, frame.pict_type = pts, unit, PictureType.NONE
        return pts

    def _write_starts(self) -> None:
        """Write the streams' start times: the video's at a whole frame, the others shifted to match."""
        begins = {
            track.stream.index: track.begin for track in self._tracks.values() if track.begin is not None
        }
        begin = self.clock.begin
        if begin is None or not isinstance(self._file, PartFile):
            return
        first = min(begins.values(), default=begin)
        shift = max(0, math.ceil((begin - first) / self._time_base)) * self._time_base - begin
        begins[self._track.stream.index] = begin
        set_starts(Path(self._file.url), {index: begin + shift for index, begin in begins.items()})

    def _fill_units(self, container: OutputContainer) -> None:
        """Pad audio that ends before the video, and report audio that is cut there."""
        seconds = self._track.packets * self._time_base
        for index, track in self._tracks.items():
            template = self._source.streams[index]
            if not isinstance(template, AudioStream):
                continue
            left = unfilled(template, track.size, seconds)
            for packet in silence(track.stream, template, track.size, seconds):
                container.mux(packet)
            late = Fraction(-left * 8, template.codec_context.bit_rate or 1)
            if late > _OUT_OF_STEP:
                self._warn_once(
                    f"{float(late):.3g} s of audio stream #{index} are not kept: "
                    f"{name_of(container)} ends with the last picture; .mkv keeps them"
                )

    def _warn_of_starts(self, format_name: str) -> None:
        """Report streams that start long before or after the video, if the container starts all together."""
        begin = self.clock.begin
        for index, track in self._tracks.items():
            late = Fraction(0) if track.begin is None or begin is None else track.begin - begin
            if abs(late) > _OUT_OF_STEP:
                self._warn_once(
                    f"{track.stream.type} stream #{index} is {abs(float(late)):.3g} s too "
                    f"{'early' if late > 0 else 'late'}: {format_name} starts all streams together; "
                    ".mkv keeps their timestamps"
                )

    def picture(self, frame: VideoFrame, planes: list[Plane] | None) -> VideoFrame:
        """Return the decoded frame with restored planes (None: restored in place) in the encoder's format."""
        restored = frame if planes is None else put_planes(frame, planes)
        return fit(restored, self._encoder, self.encoding, self._warn_once)

    def _warn_once(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)

    def _pass(self, passages: Iterable[Passage]) -> None:
        for packets, encoded in passages:
            self._mux(packets)
            if encoded is not None:
                self._mux_video([encoded])

    def _mux_video(self, packets: Iterable[AnyPacket]) -> None:
        container = self._opened()
        least = traits_of(name_of(container)).least_picture
        container.mux([padded(self._track.place(packet), least) for packet in packets])

    def _mux(self, packets: Iterable[AnyPacket]) -> None:
        """Copy input packets to their tracks."""
        container = self._opened()
        for packet in packets:
            track = self._tracks.get(packet.stream_index)
            if track is None:
                continue
            try:
                container.mux(track.convert(packet, self._source.zero))
            except _PACKET_ERRORS as error:  # muxers check packets, and parse those that they repack
                self.damage.add(PACKETS, f"stream #{packet.stream_index}: {reason(error)}")
