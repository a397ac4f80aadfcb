#!/usr/bin/env python3
"""Compare the audio and subtitles that we keep with a plain FFmpeg copy, for all codecs and containers.

    scripts/copy_matrix.py [--codec NAME ...] [--container ENDING ...] [--write docs/formats.md]

For each audio and subtitle encoder of `ffmpeg`, make a short clip in the first container that takes it, then
write it to each container twice: with `ffmpeg -map 0 -c:a copy -c:s copy` (video is re-encoded, as ours is),
and with our reader and writer. A stream counts as kept if `ffprobe` and PyAV both find its codec there, with
the same number of bytes. `--write` puts each row into the table between the markers of a document, and keeps
the rows of other codecs.

| cell | kept by |
|------|---------|
| ●    | both    |
| ○    | only us |
| –    | neither |
| ✗    | only FFmpeg: a bug |

Exit status: 0 if there is no ✗.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import av

from rtdeblur.device import DeviceFrame
from rtdeblur.errors import RtdeblurError
from rtdeblur.frames import FrameBatch, Interlude
from rtdeblur.media.reader import FileReader
from rtdeblur.media.writer import FileWriter

CONTAINERS = (
    "mkv", "mp4", "mov", "m4v", "3gp", "3g2", "ts", "m2ts", "webm", "avi", "wmv", "flv", "f4v", "nut", "mpg",
    "vob", "ogv", "mxf", "gxf", "rm", "wtv", "swf", "dv",
)  # fmt: skip
"""File extensions; a clip is made in the first one that takes its codec."""

_PICTURE = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=0.48")
# The first combination that the encoder accepts is used.
_RATES, _CHANNELS = (48000, 44100, 32000, 16000, 8000), (2, 1)
_EXPERIMENTAL = ("-strict", -2)  # to encode; a plain copy does without
# Encoders without a real source, or not meant for files.
_NOT_TRIED = {"sonic", "sonicls", "comfortnoise", "anull", "dfpwm", "s302m"}
_NAMES = {"srt": "subrip", "ssa": "ass"}
_TEXT = "1\n00:00:00,050 --> 00:00:00,200\none\n\n2\n00:00:00,250 --> 00:00:00,400\ntwo\n"
_BEGIN, _END = "<!-- copy matrix -->", "<!-- end of copy matrix -->"
_MARKS = {(True, True): "●", (False, True): "○", (False, False): "–", (True, False): "✗"}


@dataclass(frozen=True)
class Row:
    """Result for one codec: a mark per container."""

    codec: str
    kind: str
    cells: dict[str, str]

    def line(self, containers: tuple[str, ...]) -> str:
        """A line of a Markdown table."""
        return f"| {self.codec} | " + " | ".join(self.cells[ending] for ending in containers) + " |"


def ffmpeg(*words: object) -> bool:
    """Return whether the program succeeds."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, words)]
    try:
        return not subprocess.run(command, capture_output=True, timeout=60, check=False).returncode
    except subprocess.TimeoutExpired:
        return False


def held(path: Path, kind: str) -> tuple[str, int] | None:
    """Codec and bytes of the first stream of a kind; None if ffprobe or PyAV finds none."""
    entries = "stream=codec_name:packet=size"
    command = ["ffprobe", "-v", "error", "-select_streams", kind[0], "-show_entries", entries, "-of", "csv"]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=60, check=False)
    lines = [line.split(",") for line in done.stdout.splitlines()]
    codecs = [fields[1] for fields in lines if fields[0] == "stream"]
    sizes = sum(int(fields[1]) for fields in lines if fields[0] == "packet" and fields[1].isdigit())
    if not codecs or codecs[0] in ("unknown", "none") or not sizes:
        return None
    try:
        with av.open(str(path)) as container:
            if not any(stream.type == kind for stream in container.streams):
                return None
    except (av.error.FFmpegError, ValueError):
        return None
    return codecs[0], sizes


def encoders(kind: str) -> list[str]:
    """The program's encoders, one per codec."""
    listed = subprocess.run(
        ["ffmpeg", "-v", "error", "-encoders"], capture_output=True, text=True, check=True
    )
    found: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        match = re.match(rf" {kind[0].upper()}\S{{5}} (\S+)(?:.*\(codec (\S+)\))?", line)
        if match and match[1] != "=":
            codec = _NAMES.get(match[2] or match[1], match[2] or match[1])
            found.setdefault(codec, match[1])
    return sorted(name for codec, name in found.items() if codec not in _NOT_TRIED)


def make(kind: str, encoder: str, folder: Path) -> Path | None:
    """Make a clip with a stream from an encoder; None if no listed container takes it."""
    sources: list[tuple[object, ...]]
    if kind == "audio":
        sources = [
            ("-f", "lavfi", "-i", f"sine=d=0.48:r={rate}", "-ac", channels, "-ar", rate)
            for rate in _RATES
            for channels in _CHANNELS
        ]
    else:
        (folder / "s.srt").write_text(_TEXT)
        (folder / "s.sup").write_bytes(bitmap_subtitles())
        sources = [("-i", folder / "s.srt"), ("-i", folder / "s.sup")]
    sources = [
        source
        for source in sources
        if ffmpeg(*source, f"-c:{kind[0]}", encoder, *_EXPERIMENTAL, "-f", "null", "-")
    ]
    for ending in CONTAINERS:
        path = folder / f"clip.{ending}"
        video = [] if ending in ("ogv", "swf", "dv", "rm", "gxf", "mxf") else ["-c:v", "mpeg4", "-g", 1]
        if ending == "webm":
            video = ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", 8]
        for source in sources:
            maps = ("-map", 0, "-map", 1, *video, f"-c:{kind[0]}", encoder, *_EXPERIMENTAL)
            if ffmpeg(*_PICTURE, *source, *maps, path) and held(path, kind):
                return path
    return None


def bitmap_subtitles() -> bytes:
    """Two pictures of 8x2 pixels in the format of Blu-ray discs (PGS), at 0.05 s and 0.25 s."""
    rows = bytes([1] * 8 + [0, 0]) * 2
    picture = struct.pack(">HBB", 0, 0, 0xC0) + (len(rows) + 4).to_bytes(3, "big") + struct.pack(">HH", 8, 2)
    window = struct.pack(">BBHHHH", 1, 0, 0, 0, 8, 2)

    def shown(number: int, seconds: float, visible: bool) -> bytes:
        objects = struct.pack(">HBBHH", 0, 0, 0, 0, 0) if visible else b""
        size = struct.pack(">HHBHBBBB", 96, 64, 0x10, number, 0x80, 0, 0, int(visible))
        segments = [(0x16, size + objects), (0x17, window)]
        if visible:
            segments += [(0x14, bytes([0, 0, 1, 235, 128, 128, 255])), (0x15, picture + rows)]
        segments.append((0x80, b""))
        time = round(seconds * 90_000)
        return b"".join(b"PG" + struct.pack(">IIBH", time, time, k, len(d)) + d for k, d in segments)

    moments = [(0.05, True), (0.2, False), (0.25, True), (0.4, False)]
    return b"".join(shown(number, *moment) for number, moment in enumerate(moments))


def compare(kind: str, encoder: str, containers: tuple[str, ...]) -> Row | None:
    """Try one encoder's codec in every container; None if no clip can be made."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = make(kind, encoder, folder)
        if clip is None:
            return None
        whole = held(clip, kind)
        assert whole is not None
        cells = {}
        for ending in containers:
            plain, ours = folder / f"plain.{ending}", folder / f"ours.{ending}"
            copied = ffmpeg("-i", clip, "-map", 0, "-c:a", "copy", "-c:s", "copy", plain)
            process = multiprocessing.Process(target=_restore, args=(clip, ours))
            process.start()
            process.join(120)
            process.kill()
            process.join()
            if process.exitcode:
                print(
                    f"{clip.name} → {ours.name}: the process ended with {process.exitcode}", file=sys.stderr
                )
            marks = (
                copied and _same(held(plain, kind), whole),
                ours.exists() and _same(held(ours, kind), whole),
            )
            cells[ending] = _MARKS[marks]
        return Row(whole[0], kind, cells)


def _same(found: tuple[str, int] | None, whole: tuple[str, int]) -> bool:
    """Whether a stream was kept; framing may change its size by a few bytes (text, AAC)."""
    texts = ({"subrip", "mov_text", "text", "webvtt"}, {"ass", "ssa"})
    if found is None:
        return False
    alike = found[0] == whole[0] or any({found[0], whole[0]} <= names for names in texts)
    return alike and 0.5 * whole[1] <= found[1] <= 2 * whole[1] + 100


def _restore(source: Path, output: Path) -> None:
    try:
        with FileReader(source) as reader, FileWriter(reader, output) as writer:
            for frame in reader:
                assert not isinstance(frame, DeviceFrame)
                writer.write(frame if isinstance(frame, Interlude) else FrameBatch.stack([frame]))
            writer.commit()
    except RtdeblurError as error:
        print(f"{source.name} → {output.name}: {error}", file=sys.stderr)


def write(document: Path, row: Row) -> None:
    """Put a row into the table of a document, in place of an older one of its codec."""
    head, rest = document.read_text(encoding="utf-8").split(_BEGIN)
    old, tail = rest.split(_END)
    lines = {line.split("|")[1].strip(): line for line in old.splitlines() if line.startswith("| ")}
    lines.pop("", None)
    lines[row.codec] = row.line(CONTAINERS)
    heads = ["| | " + " | ".join(CONTAINERS) + " |", "|---|" + ":-:|" * len(CONTAINERS)]
    kinds = {codec: av.Codec(codec, "r").type for codec in lines}
    table = [*heads, *(lines[codec] for codec in sorted(lines, key=lambda codec: (kinds[codec], codec)))]
    text = "\n".join(table)
    document.write_text(f"{head}{_BEGIN}\n\n{text}\n\n{_END}{tail}", encoding="utf-8")


def main() -> int:
    """Run it; return 1 if a plain copy keeps something that we drop."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--codec", action="append", metavar="NAME", help="an encoder of the ffmpeg program")
    parser.add_argument("--container", action="append", choices=CONTAINERS, metavar="ENDING")
    parser.add_argument("--write", type=Path, metavar="DOCUMENT")
    words = parser.parse_args()
    if words.write and words.container:
        parser.error("--write takes rows of all containers; leave out --container")
    containers = tuple(words.container or CONTAINERS)
    rows: list[Row] = []
    for kind in ("audio", "subtitle"):
        for encoder in encoders(kind):
            if words.codec and encoder not in words.codec:
                continue
            row = compare(kind, encoder, containers)
            if row is None:
                print(f"{encoder}: no clip", flush=True)
            else:
                rows.append(row)
                if words.write:
                    write(words.write, row)
                print(f"{row.codec:18}", " ".join(f"{e}{row.cells[e]}" for e in containers), flush=True)
    counts = Counter(mark for row in rows for mark in row.cells.values())
    print(
        f"{len(rows)} codecs in {len(containers)} containers:",
        ", ".join(f"{n} {m}" for m, n in counts.items()),
    )
    return int(counts["✗"] > 0)


if __name__ == "__main__":
    sys.exit(main())
