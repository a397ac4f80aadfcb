"""Any small file through the whole command: no frame, time, packet or tag changes.

Hypothesis draws a few files here; `scripts/property N` draws N.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from hypothesis import HealthCheck, event, given, reject, settings
from hypothesis import strategies as st

from rtdeblur.cli import main

EXAMPLES = int(os.environ.get("RTDEBLUR_EXAMPLES", "0"))

CODECS: dict[str, tuple[str, ...]] = {
    "libx264": ("yuv420p", "yuvj420p", "yuv422p", "yuv444p", "gray", "nv12"),
    "ffv1": (
        "yuv420p",
        "yuv410p",
        "yuv411p",
        "yuv440p",
        "yuv444p16le",
        "yuv422p12le",
        "yuva420p",
        "yuva444p10le",
        "gray",
        "gray10le",
        "gray16le",
        "bgr0",
        "bgra",
        "gbrp10le",
        "gbrp12le",
        "gbrap12le",
        "gbrp16le",
    ),
    "mpeg4": ("yuv420p",),
    "mpeg2video": ("yuv420p", "yuv422p"),
    "mjpeg": ("yuvj420p", "yuvj422p", "yuvj444p"),
    "rawvideo": ("yuv420p", "uyvy422", "yuyv422", "nv12", "rgb24", "bgr24", "rgba", "gray"),
    "prores_ks": ("yuv422p10le", "yuv444p10le", "yuva444p10le"),
    "qtrle": ("rgb24", "argb", "gray"),
    "png": ("rgb24", "rgba", "gray", "gray16be", "rgb48be", "ya8", "monob"),
    "v210": ("yuv422p10le",),
    "huffyuv": ("yuv422p", "rgb24", "bgra"),
}
MATROSKA = ("libx264", "ffv1", "mpeg4", "mpeg2video", "mjpeg", "prores_ks")
CONTAINERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    ".mkv": (MATROSKA, ("aac", "flac", "libopus", "pcm_s16le", "mp2", "ac3")),
    ".mp4": (("libx264", "mpeg4", "mpeg2video"), ("aac", "libopus", "ac3", "flac")),
    ".mov": (("libx264", "mpeg4", "mjpeg", "prores_ks", "qtrle", "png", "v210"), ("aac", "pcm_s16le")),
    ".ts": (("libx264", "mpeg2video"), ("aac", "mp2", "ac3")),
    ".avi": (("libx264", "mpeg4", "mjpeg", "ffv1", "rawvideo", "huffyuv"), ("pcm_s16le", "mp2", "ac3")),
    ".nut": (tuple(c for c in CODECS if c != "prores_ks"), ("flac", "pcm_s16le", "mp2")),
    ".mpg": (("mpeg2video",), ("mp2", "ac3")),
    ".flv": (("libx264",), ("aac",)),
}  # fmt: skip
OUTPUTS = {".mkv": "ffv1", ".mp4": "libx264", ".mov": "libx264"}
ADTS_BYTES = 7  # the header of AAC in a transport stream
NUMBERED = (".avi",)  # their clock counts frames
RATES = tuple(map(Fraction, (1, "24000/1001", 25, "30000/1001", 50, 60, 120, 240)))


@dataclass(frozen=True)
class Clip:
    """Contents of a file; times in seconds."""

    ending: str
    codec: str
    pix_fmt: str
    size: tuple[int, int]
    times: tuple[Fraction, ...]
    rate: Fraction
    b_frames: int
    aspect: Fraction
    sounds: tuple[tuple[str, Fraction], ...]
    tags: dict[str, str]
    output: str


def _times(draw: Any, ending: str, rate: Fraction) -> tuple[Fraction, ...]:
    count = draw(st.integers(1, 9))
    start = draw(st.sampled_from([0, 0, Fraction(1, 2), 10, 3]))
    if ending in NUMBERED or draw(st.booleans()):
        return tuple((0 if ending in NUMBERED else start) + i / rate for i in range(count))
    gaps = draw(st.lists(st.integers(8, 400), min_size=count, max_size=count))
    return tuple(start + Fraction(sum(gaps[:i]), 1000) for i in range(count))


@st.composite
def clips(draw: Any) -> Clip:
    ending = draw(st.sampled_from(sorted(CONTAINERS)))
    codecs, sounds = CONTAINERS[ending]
    codec = draw(st.sampled_from(codecs))
    pix_fmt = draw(st.sampled_from(CODECS[codec]))
    even = codec != "ffv1" or not (pix_fmt.startswith("gray") or "444" in pix_fmt or "gb" in pix_fmt)
    width, height = (draw(st.integers(9, 50)) * 2 - (not even and draw(st.booleans())) for _ in range(2))
    width = -(-width // 16) * 16 if codec in ("v210", "prores_ks", "rawvideo", "ffv1") and even else width
    height = -(-height // 4) * 4 if even else height
    rate = draw(st.sampled_from(RATES))
    if codec in ("mpeg4", "mpeg2video"):
        rate = draw(st.sampled_from(RATES[2:3] + RATES[4:5]))  # the rates that MPEG knows
    tracks = draw(st.lists(st.sampled_from(sounds), max_size=1 if ending == ".flv" else 2))
    delays = [draw(st.sampled_from([Fraction(0), Fraction(0), Fraction(3, 10)])) for _ in tracks]
    words = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8)
    return Clip(
        ending, codec, pix_fmt, (width, height), _times(draw, ending, rate), rate,
        draw(st.integers(0, 3)) if codec in ("libx264", "mpeg4") and ending not in NUMBERED else 0,
        draw(st.sampled_from([Fraction(1), Fraction(1), Fraction(64, 45)])),
        tuple(zip(tracks, delays, strict=True)),
        {"title": draw(words)} if ending in (".mkv", ".mp4", ".mov") else {},
        draw(st.sampled_from(sorted(OUTPUTS) if not set(tracks) & {"flac", "libopus"} else [".mkv", ".mp4"])),
    )  # fmt: skip


def picture(clip: Clip, index: int) -> av.VideoFrame:
    """A moving gradient, different in every frame."""
    frame = av.VideoFrame(*clip.size, clip.pix_fmt)
    bits = max(component.bits for component in frame.format.components)
    for number, plane in enumerate(frame.planes):
        kind = "u1" if bits <= 8 else ">u2" if clip.pix_fmt.endswith("be") else "<u2"
        samples: Any = np.frombuffer(memoryview(plane), kind)
        ramp = np.arange(samples.size) % (plane.line_size // samples.itemsize) * 2 + 9 * index + 40 * number
        samples[:] = (ramp % 160 + 48) << max(0, 8 - 8 if bits <= 8 else bits - 8)
        if clip.pix_fmt == "p010le":
            samples[:] = (samples >> 2) << 6
    return frame


def write(clip: Clip, path: Path) -> None:
    """Write the file."""
    unit = (
        1 / clip.rate
        if clip.ending in NUMBERED or clip.codec in ("mpeg4", "mpeg2video")
        else Fraction(1, 90000)
    )
    with av.open(str(path), "w") as container:
        container.metadata.update(clip.tags)
        options = {"preset": "ultrafast", "x264-params": "log-level=none"} if clip.codec == "libx264" else {}
        video = container.add_stream(clip.codec, clip.rate, options, width=clip.size[0], height=clip.size[1])
        context = video.codec_context
        context.pix_fmt, video.time_base, context.time_base = clip.pix_fmt, unit, unit
        context.sample_aspect_ratio, context.max_b_frames = clip.aspect, clip.b_frames
        sounds = [container.add_stream(codec, 48000, layout="stereo") for codec, _ in clip.sounds]
        container.start_encoding()
        packets = []
        last = -1
        for index, time in enumerate(clip.times):
            frame = picture(clip, index)
            last = max(round(time / unit), last + 1)
            frame.pts, frame.time_base = last, unit
            packets += video.encode(frame)
        packets += video.encode(None)
        for sound, (_, delay) in zip(sounds, clip.sounds, strict=True):
            packets += tone(sound, clip.times[0] + delay)
        base = {p.stream_index: p.time_base for p in packets}
        packets.sort(key=lambda p: p.dts * base[p.stream_index] if p.dts is not None else 0)
        for packet in packets:
            container.mux(packet)


def tone(sound: Any, start: Fraction) -> list[Any]:
    fifo_size = sound.codec_context.frame_size or 1024
    packets = []
    for i in range(10):
        kind = sound.codec_context.format.name
        wave = np.sin(np.arange(fifo_size) * 0.05 + i) * 0.3
        kinds: dict[str, Any] = {"s16": "i2", "s16p": "i2", "s32": "i4", "fltp": "f4", "flt": "f4"}
        scale = {"i2": 2**15, "i4": 2**31}.get(kinds[kind], 1)
        samples = (np.stack([wave, wave]) * scale).astype(kinds[kind])
        frame = av.AudioFrame.from_ndarray(
            samples if kind.endswith("p") else samples.T.reshape(1, -1).copy(), kind, "stereo"
        )
        frame.rate, frame.time_base = 48000, Fraction(1, 48000)
        frame.pts = round(start * 48000) + i * fifo_size
        packets += sound.encode(frame)
    return packets + list(sound.encode(None))


@dataclass
class Seen:
    """Contents of a file as a plain decoder sees them."""

    times: list[Fraction]
    tick: Fraction
    pictures: list[bytes]
    pix_fmt: str
    sounds: list[list[tuple[Fraction, bytes]]]
    tags: dict[str, str]
    aspect: Fraction | None

    @classmethod
    def of(cls, path: Path) -> Seen:
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            frames = list(container.decode(video))
            rate = video.guessed_rate or 25
            # AVI and raw streams have no presentation times, only an order.
            lost = any(f.pts is None for f in frames)
            times = [Fraction(i) / rate if lost else f.pts * f.time_base for i, f in enumerate(frames)]
            pictures = [b"".join(rows(plane, f.format.name) for plane in f.planes) for f in frames]
        with av.open(str(path)) as container:
            sounds: dict[int, list[Any]] = {s.index: [] for s in container.streams.audio}
            for packet in container.demux(list(container.streams.audio)) if sounds else ():
                if packet.size and not packet.is_discard:
                    sounds[packet.stream_index].append((packet.pts * packet.time_base, bytes(packet)))
            tags = {key.lower(): value for key, value in container.metadata.items()}
            video = container.streams.video[0]
            return cls(times, Fraction(video.time_base), pictures, video.codec_context.pix_fmt or "",
                       list(sounds.values()), tags, video.sample_aspect_ratio)  # fmt: skip


def rows(plane: Any, pix_fmt: str) -> bytes:
    """Samples of a plane without the padding of its rows."""
    name = av.VideoFormat(pix_fmt)
    sample = 1 if max(component.bits for component in name.components) <= 8 else 2
    width = plane.width * (4 if pix_fmt in ("bgr0", "bgra") else sample)
    data = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)
    if pix_fmt == "bgr0":  # the fourth byte is nothing
        return data[:, :width].reshape(plane.height, -1, 4)[..., :3].tobytes()
    return data[:, :width].tobytes()


def check_times(before: Seen, after: Seen) -> None:
    assert len(after.times) == len(before.times)
    assert after.times == sorted(set(after.times))
    shift = after.times[0] - before.times[0]
    slack = max(before.tick, after.tick) if after.tick > Fraction(1, 2000) else after.tick
    for was, now in zip(before.times, after.times, strict=True):
        assert abs(now - was - shift) <= slack, (before.times, after.times)


def check_sound(before: Seen, after: Seen) -> None:
    assert len(after.sounds) == len(before.sounds)
    shift = after.times[0] - before.times[0]
    for was, now in zip(before.sounds, after.sounds, strict=True):
        # mp4 hides what primes the decoder, in front; other containers play it.
        assert all(time < before.times[0] for time, _ in was[: max(0, len(was) - len(now))])
        now, was = now[-len(was) :], was[-len(now) :]
        assert len(now) == len(was)
        for (time, data), (copied_time, copied) in zip(was, now, strict=True):
            assert data == copied or data[ADTS_BYTES:] == copied
            assert abs(copied_time - time - shift) < Fraction(2, 1000)


@settings(
    max_examples=EXAMPLES or 100,
    deadline=None,
    derandomize=not EXAMPLES,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(clips())
def test_any_file_keeps_everything_it_holds(clip: Clip) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / f"in{clip.ending}", Path(folder) / f"out{clip.output}"
        try:
            write(clip, source)
            before = Seen.of(source)
        except (ValueError, av.FFmpegError):  # FFmpeg writes or reads no such file
            reject()
        words = ["--model", "identity", "--codec", OUTPUTS[clip.output], "-q"]
        words += ["--preset", "ultrafast"] if clip.output != ".mkv" else []
        assert main([str(source), "-o", str(output), *words]) == 0
        after = Seen.of(output)
    event(f"{clip.ending} to {clip.output}")
    check_times(before, after)
    check_sound(before, after)
    assert before.tags.items() - after.tags.items() <= {("encoder", before.tags.get("encoder"))} | stale(
        before
    )
    if clip.output == ".mkv" and before.pix_fmt == after.pix_fmt:
        event("compared bit by bit")
        assert after.pictures == before.pictures


def stale(seen: Seen) -> set[tuple[str, str]]:
    return {
        (k, v) for k, v in seen.tags.items() if k in ("major_brand", "minor_version", "compatible_brands")
    }
