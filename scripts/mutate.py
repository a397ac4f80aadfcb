#!/usr/bin/env python3
"""Prove `rtdeblur verify` by mutation: every change to a copy must be found, and no faithful copy may fail.

    scripts/mutate.py [--container mkv ...] [--mutation NAME ...] [--show]

For each container, make a clip with `ffmpeg` that contains every kind of content it supports.
Packet-by-packet copies are changed in one place: a picture dropped, duplicated, moved or swapped, audio
muted, a tag rewritten and so on. A change counts if `ffprobe` or `ffmpeg -f framemd5` see it in the file (a
container may be unable to store it); then `verify` must report a difference. The unchanged copy, one made by
`ffmpeg -c copy` and the output of `rtdeblur --model identity`, in each of these containers, must pass.

Exit status: 0 if all do.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.packet import Packet

from rtdeblur.device import DeviceFrame
from rtdeblur.errors import RtdeblurError
from rtdeblur.ffmpeg.container import open_input, open_output
from rtdeblur.ffmpeg.formats import format_of
from rtdeblur.frames import FrameBatch, Interlude
from rtdeblur.media.reader import FileReader
from rtdeblur.media.verify.compare import compare
from rtdeblur.media.verify.container_limits import plain_copy
from rtdeblur.media.verify.contents import read_contents
from rtdeblur.media.writer import FileWriter

_X264 = "-c:v libx264 -preset ultrafast -g 1"
CONTAINERS: dict[str, str] = {
    "mkv": f"{_X264} -c:a:0 flac -c:a:1 aac -c:s srt",
    "mp4": f"{_X264} -c:a:0 aac -c:a:1 ac3 -c:s mov_text",
    "mov": f"{_X264} -c:a:0 pcm_s16le -c:a:1 aac -c:s mov_text -timecode 01:00:00:00",
    "ts": f"{_X264} -c:a:0 aac -c:a:1 mp2",
    "avi": "-c:v mjpeg -pix_fmt yuvj420p -c:a:0 pcm_s16le -c:a:1 ac3",
    "webm": "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 1 -c:a:0 libopus -c:a:1 libvorbis -c:s webvtt",
    "nut": "-c:v mpeg4 -g 1 -c:a:0 flac -c:a:1 mp2",
    "mpg": "-c:v mpeg2video -g 1 -c:a:0 mp2 -c:a:1 ac3",
    "wmv": "-c:v wmv2 -g 1 -c:a:0 wmav2 -c:a:1 libmp3lame",
    "flv": f"{_X264} -c:a aac",
    "mxf": "-c:v mpeg2video -g 1 -c:a pcm_s16le",
    "3gp": f"{_X264} -c:a:0 aac -c:a:1 aac",
    "ogv": "-c:v libtheora -g 1 -c:a:0 libvorbis -c:a:1 flac",
    "m4v": f"{_X264} -c:a:0 aac -c:a:1 alac",
}
_ONE_SOUND = ("flv",)
_MOVED_BY_FFMPEG = ("webm",)  # FFmpeg 5 shifts audio by the Opus priming
FRAMES, RATE = 30, 25
_SECONDS = FRAMES / RATE
_SUBTITLES = "1\n00:00:00,100 --> 00:00:00,400\none\n\n2\n00:00:00,500 --> 00:00:00,900\ntwo\n"
_ABOUT = (
    ";FFMETADATA1\ntitle=A title\nartist=Some One\n"
    "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle=Intro\n"
    "[CHAPTER]\nTIMEBASE=1/1000\nSTART=400\nEND=1200\ntitle=Rest\n"
)


@dataclass
class Track:
    """A stream to write: its original, its changed properties, and its packets."""

    stream: Any
    kind: str
    tags: dict[str, str]
    disposition: int
    packets: list[Any] = field(default_factory=list)

    @property
    def tick(self) -> Fraction:
        """Seconds per unit of its timestamps."""
        return Fraction(self.stream.time_base)


@dataclass
class Film:
    """A whole file in memory, for a mutation to change."""

    tracks: list[Track]
    tags: dict[str, str]
    chapters: list[Any]

    def of(self, kind: str, number: int = 0) -> Track:
        """A track of a kind.

        Raises:
            LookupError: there are fewer.
        """
        return [track for track in self.tracks if track.kind == kind][number]


class NotApplicableError(Exception):
    """The file has nothing for this mutation to change."""


Mutation = Callable[[Film], None]


def _middle(track: Track) -> int:
    if len(track.packets) < 6 - 4 * (track.kind == "subtitle"):
        raise NotApplicableError
    return len(track.packets) // 2


def _clone(packet: Any, data: bytes | None = None) -> Any:
    copy = Packet(bytes(packet) if data is None else data)
    copy.pts, copy.dts, copy.duration, copy.time_base = (
        packet.pts, packet.dts, packet.duration, packet.time_base,
    )  # fmt: skip
    copy.is_keyframe = packet.is_keyframe
    return copy


def _move(packets: list[Any], seconds: Fraction) -> None:
    for packet in packets:
        shift = round(seconds / Fraction(packet.time_base))
        if not shift:
            raise NotApplicableError
        packet.pts = None if packet.pts is None else packet.pts + shift
        packet.dts = None if packet.dts is None else packet.dts + shift


def _swap(track: Track, a: int, b: int) -> None:
    """Exchange the payloads of two packets; each keeps its position and timestamp."""
    x, y = track.packets[a], track.packets[b]
    track.packets[a], track.packets[b] = _clone(x, bytes(y)), _clone(y, bytes(x))


def drop(kind: str, number: int, where: Callable[[Track], slice]) -> Mutation:
    """Drop packets; those after them keep their timestamps."""

    def mutate(film: Film) -> None:
        track = film.of(kind, number)
        del track.packets[where(track)]

    return mutate


def close_gap(film: Film) -> None:
    """Drop a picture and move all later ones forward to close the gap."""
    track = film.of("video")
    index = _middle(track)
    for later, earlier in zip(track.packets[:index:-1], track.packets[-2 : index - 1 : -1], strict=True):
        later.pts, later.dts = earlier.pts, earlier.dts
    del track.packets[index]


def double(kind: str, number: int, where: Callable[[Track], int]) -> Mutation:
    """Repeat a packet, delaying all later ones by its duration."""

    def mutate(film: Film) -> None:
        track = film.of(kind, number)
        index = where(track)
        packet = track.packets[index]
        length = Fraction(packet.duration or round(Fraction(1, RATE) / track.tick)) * track.tick
        copy = _clone(packet)
        _move([copy, *track.packets[index + 1 :]], length)
        track.packets.insert(index + 1, copy)

    return mutate


def shift(kind: str, number: int, seconds: Fraction, start: float = 0, stop: float = 1) -> Mutation:
    """Shift a section of a track, given as fractions of its length."""

    def mutate(film: Film) -> None:
        track = film.of(kind, number)
        _middle(track)
        count = len(track.packets)
        _move(track.packets[round(start * count) : round(stop * count)], seconds)

    return mutate


def stretch(kind: str, number: int) -> Mutation:
    """Slow a track down by a tenth."""

    def mutate(film: Film) -> None:
        packets = film.of(kind, number).packets
        for packet in packets:
            packet.pts = None if packet.pts is None else round(packet.pts * Fraction(11, 10))
            packet.dts = None if packet.dts is None else round(packet.dts * Fraction(11, 10))

    return mutate


def swap(kind: str, number: int, distance: int) -> Mutation:
    """Exchange the payloads of two packets."""

    def mutate(film: Film) -> None:
        track = film.of(kind, number)
        index = _middle(track) - distance // 2
        if not 0 <= index < index + distance < len(track.packets):
            raise NotApplicableError
        _swap(track, index, index + distance)

    return mutate


def replace(
    kind: str, number: int, make: Callable[[list[bytes], int], bytes], whole: bool = False
) -> Mutation:
    """Change the payload of the middle packet or of all; timestamps stay."""

    def mutate(film: Film) -> None:
        track = film.of(kind, number)
        middle = _middle(track)
        held = [bytes(packet) for packet in track.packets]
        for index in range(len(held)) if whole else (middle,):
            track.packets[index] = _clone(track.packets[index], make(held, index))

    return mutate


def reverse(film: Film) -> None:
    """Reverse the pictures."""
    track = film.of("video")
    _middle(track)
    held = [bytes(packet) for packet in track.packets]
    track.packets = [_clone(p, data) for p, data in zip(track.packets, reversed(held), strict=True)]


def everywhere(name: str, kind: str, number: int) -> dict[str, Mutation]:
    """Drop and duplicate a packet at the start, in the middle and at the end of a track."""
    mutations = {}
    for where, place in _PLACES.items():
        mutations[f"drop {where} {name}"] = drop(
            kind,
            number,
            lambda t, p=place: slice(p(t), p(t) + 1),  # type: ignore[misc]
        )
        mutations[f"double {where} {name}"] = double(kind, number, place)
    return mutations


def remove(kind: str, number: int) -> Mutation:
    """Drop a track."""
    return lambda film: film.tracks.remove(film.of(kind, number))


def exchange_sounds(film: Film) -> None:
    """Swap the packets of the first and the second audio track."""
    first, second = film.of("audio", 0), film.of("audio", 1)
    first.stream, second.stream = second.stream, first.stream
    first.packets, second.packets = second.packets, first.packets


def add_sound(film: Film) -> None:
    """Add a copy of an audio track."""
    track = film.of("audio", 0)
    film.tracks.append(deepcopy_track(track))


def deepcopy_track(track: Track) -> Track:
    """Return a copy of a track."""
    packets = [_clone(packet) for packet in track.packets]
    return Track(track.stream, track.kind, dict(track.tags), track.disposition, packets)


def tag(key: str, value: str) -> Mutation:
    """Write or, with an empty value, remove a tag of the file."""

    def mutate(film: Film) -> None:
        _set(film.tags, key, value)

    return mutate


def track_tag(kind: str, number: int, key: str, value: str) -> Mutation:
    """Write or remove a tag of a track."""

    def mutate(film: Film) -> None:
        _set(film.of(kind, number).tags, key, value)

    return mutate


def _set(tags: dict[str, str], key: str, value: str) -> None:
    held = [name for name in tags if name.lower() == key or (key == "title" and name == "name")]
    if not held:
        raise NotApplicableError
    for name in held:
        del tags[name]
    if value:
        tags[held[0]] = value


def dispose(kind: str, number: int, disposition: int) -> Mutation:
    """Change a track's disposition."""

    def mutate(film: Film) -> None:
        film.of(kind, number).disposition = disposition

    return mutate


def chapter(change: Callable[[list[Any]], None]) -> Mutation:
    """Change the chapters."""

    def mutate(film: Film) -> None:
        if len(film.chapters) < 2:
            raise NotApplicableError
        change(film.chapters)

    return mutate


def _rename(chapters: list[Any]) -> None:
    chapters[0]["metadata"] = {"title": "Another"}


def _postpone(chapters: list[Any]) -> None:
    chapters[1]["start"] += round(Fraction(1, 5) / chapters[1]["time_base"])
    chapters[0]["end"] = chapters[1]["start"]


def lengthen(film: Film) -> None:
    """Extend the duration of a subtitle."""
    packet = film.of("subtitle").packets[-1]
    packet.duration = packet.duration + round(Fraction(1, 2) / Fraction(packet.time_base))


_MS = Fraction(1, 1000)
_PLACES: dict[str, Callable[[Track], int]] = {
    "first": lambda track: 0,
    "middle": _middle,
    "last": lambda track: len(track.packets) - 1,
}


def _zeros(held: list[bytes], index: int) -> bytes:
    return bytes(len(held[index]))


def _flipped(held: list[bytes], index: int) -> bytes:
    data = bytearray(held[index])
    data[-max(1, len(data) // 3)] ^= 16
    return bytes(data)


def _half(held: list[bytes], index: int) -> bytes:
    return held[index][: max(1, len(held[index]) // 2)]


MUTATIONS: dict[str, Mutation] = {
    **everywhere("picture", "video", 0),
    "drop 5 pictures": drop("video", 0, lambda t: slice(_middle(t), _middle(t) + 5)),
    "drop second half": drop("video", 0, lambda t: slice(_middle(t), None)),
    "drop every 5th picture": drop("video", 0, lambda t: slice(2, None, 5)),
    "drop picture and close gap": close_gap,
    "shift pictures later": shift("video", 0, 80 * _MS),
    "shift pictures by a second": shift("video", 0, 1000 * _MS),
    "shift second half of pictures": shift("video", 0, 80 * _MS, start=0.5),
    "shift one picture": shift("video", 0, 15 * _MS, 0.5, 0.53),
    "shift first picture": shift("video", 0, 15 * _MS, 0, 0.03),
    "stretch pictures": stretch("video", 0),
    "swap neighbours": swap("video", 0, 1),
    "swap distant pictures": swap("video", 0, 12),
    "reverse pictures": reverse,
    "freeze a picture": replace("video", 0, lambda held, i: held[i - 3]),
    "freeze all pictures": replace("video", 0, lambda held, i: held[0], whole=True),
    "late by a picture": replace("video", 0, lambda held, i: held[max(0, i - 1)], whole=True),
    "lose title": tag("title", ""),
    "rewrite title": tag("title", "Another"),
    "rewrite artist": tag("artist", "Another"),
    "rewrite video language": track_tag("video", 0, "language", "rus"),
    "lose a chapter": chapter(list.pop),
    "lose all chapters": chapter(list.clear),
    "rename a chapter": chapter(_rename),
    "move a chapter": chapter(_postpone),
    "exchange sounds": exchange_sounds,
    "add a sound": add_sound,
    "rewrite timecode": track_tag("video", 0, "timecode", "02:00:00:00"),
}  # fmt: skip
for _number, _name in enumerate(("sound", "second sound")):
    MUTATIONS |= {
        **everywhere(f"packet of {_name}", "audio", _number),
        f"drop all of {_name}": drop("audio", _number, lambda t: slice(None)),
        f"remove {_name}": remove("audio", _number),
        f"shift {_name} later": shift("audio", _number, 60 * _MS),
        f"shift {_name} by a second": shift("audio", _number, 1000 * _MS),
        f"shift second half of {_name}": shift("audio", _number, 100 * _MS, start=0.5),
        f"stretch {_name}": stretch("audio", _number),
        f"swap packets of {_name}": swap("audio", _number, 1),
        f"swap distant packets of {_name}": swap("audio", _number, 5),
        f"mute a packet of {_name}": replace("audio", _number, _zeros),
        f"mute all of {_name}": replace("audio", _number, _zeros, whole=True),
        f"flip a bit of {_name}": replace("audio", _number, _flipped),
        f"halve a packet of {_name}": replace("audio", _number, _half),
        f"rewrite language of {_name}": track_tag("audio", _number, "language", "rus"),
        f"rewrite title of {_name}": track_tag("audio", _number, "title", "Another"),
        f"lose title of {_name}": track_tag("audio", _number, "title", ""),
        f"{_name} is a comment": dispose("audio", _number, 8),
    }  # fmt: skip
MUTATIONS |= {
    "remove subtitles": remove("subtitle", 0),
    "drop a line": drop("subtitle", 0, lambda t: slice(-1, None)),
    "rewrite a line": replace("subtitle", 0, lambda held, i: held[i].replace(b"t", b"T")),
    "swap lines": swap("subtitle", 0, 1),
    "shift subtitles": shift("subtitle", 0, 100 * _MS),
    "shift a line": shift("subtitle", 0, 50 * _MS, 0.5, 1),
    "lengthen a line": lengthen,
    "rewrite language of subtitles": track_tag("subtitle", 0, "language", "rus"),
    "subtitles are forced": dispose("subtitle", 0, 64),
}


def ffmpeg(*words: object) -> None:
    """Run a program quietly."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, words)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def make(folder: Path, ending: str) -> Path:
    """Make a clip with every kind of content that a container supports."""
    words = CONTAINERS[ending]
    (folder / "s.srt").write_text(_SUBTITLES)
    (folder / "about.txt").write_text(_ABOUT)
    sound = "sine={}:d={}:r=48000,aformat=channel_layouts=stereo"
    inputs: list[object] = [
        "-f",
        "lavfi",
        "-i",
        f"testsrc2=s=192x128:r={RATE}:d={_SECONDS},noise=alls=6:allf=t",
    ]
    inputs += [
        "-f",
        "lavfi",
        "-i",
        sound.format(300, _SECONDS),
        "-f",
        "lavfi",
        "-i",
        sound.format(700, _SECONDS),
    ]
    inputs += ["-i", folder / "s.srt", "-i", folder / "about.txt"]
    maps = ["-map", 0, "-map", 1, *(["-map", 2] if ending not in _ONE_SOUND else [])]
    maps += ["-map", 3] if "-c:s" in words else []
    about = [
        "-map_metadata",
        4,
        "-map_chapters",
        4,
        "-metadata:s:v",
        "language=eng",
        "-metadata:s:a:0",
        "language=eng",
    ]
    if ending not in _ONE_SOUND:
        about += [
            "-metadata:s:a:1",
            "language=fre",
            "-metadata:s:a:0",
            "title=First",
            "-metadata:s:a:1",
            "title=Second",
        ]
    about += ["-metadata:s:s", "language=spa"] if "-c:s" in words else []
    path = folder / f"clip.{ending}"
    ffmpeg(*inputs, *maps, *words.split(), *about, path)
    return path


def read(path: Path) -> tuple[Film, Any]:
    """Read a file into memory; also return the open input that its tracks belong to."""
    source = open_input(path)
    tracks = [Track(s, s.type, dict(s.metadata), int(s.disposition)) for s in source.streams]
    for packet in source.demux():
        if packet.size:
            tracks[packet.stream.index].packets.append(packet)
    made = ("bin_data", "unknown", None)  # the muxer writes tracks of chapters and timecode itself
    kept = [t for t in tracks if t.kind != "data" or getattr(t.stream, "name", None) not in made]
    return Film(kept, dict(source.metadata), deepcopy(source.chapters())), source


def write(film: Film, path: Path) -> None:
    """Write a film to a file in decoding order."""
    name = format_of(path)
    options = {"fflags": "+bitexact"}
    if name in ("mp4", "mov", "3gp", "ipod"):
        options |= {"movflags": "use_metadata_tags", "movie_timescale": "90000"}
    with closing(open_output(str(path), name, options)) as target:
        target.metadata.update(film.tags)
        target.set_chapters(film.chapters)
        queue: list[tuple[Fraction, int, int, Any]] = []
        for track in film.tracks:
            copy = target.add_stream_from_template(track.stream, opaque=True)
            copy.metadata.clear()
            copy.metadata.update(track.tags)
            if "name" in track.tags:  # mov's demuxer reads the muxer's title as this key
                copy.metadata["title"] = track.tags["name"]
            copy.disposition = track.disposition
            for place, packet in enumerate(track.packets):
                clock = packet.dts if packet.dts is not None else packet.pts or 0
                queue.append((clock * Fraction(packet.time_base), copy.index, place, packet))
                packet.stream = copy
        target.start_encoding()
        last: dict[int, int] = {}
        for clock, index, _, packet in sorted(queue, key=lambda entry: entry[:3]):
            packet.dts = round(clock / Fraction(packet.time_base))
            packet.dts = max(packet.dts, last.get(index, packet.dts - 1) + 1)  # frames of one PES packet
            last[index] = packet.dts
            target.mux(packet)


def fingerprint(path: Path) -> str:
    """Everything other programs see in a file; empty if they cannot read it."""
    entries = (
        "packet=stream_index,pts_time,dts_time,data_hash:stream=index,codec_name:stream_tags:"
        "stream_disposition:format_tags:packet_side_data=skip_samples,discard_padding"
    )
    command = ["ffprobe", "-v", "error", "-show_data_hash", "md5", "-show_chapters", "-show_entries", entries]
    probed = subprocess.run([*command, "-of", "json", str(path)], capture_output=True, timeout=120)
    held = json.loads(probed.stdout or b"{}")
    held.get("packets", []).sort(key=lambda packet: packet["stream_index"])  # regardless of interleaving
    return hashlib.md5(json.dumps(held, sort_keys=True).encode(), usedforsecurity=False).hexdigest()


def differences(before: Path, after: Path) -> list[str]:
    """Differences that `verify` reports."""
    checks = compare(read_contents(before), read_contents(after), lambda: plain_copy(before, after))
    return [f"{c.name}: {c.before} → {c.after}" for c in checks if c.status == "different"]


def restore(source: Path, output: Path) -> None:
    """Pass a file through reader and writer with its pictures unchanged."""
    with FileReader(source) as reader, FileWriter(reader, output) as writer:
        for frame in reader:
            assert not isinstance(frame, DeviceFrame)
            writer.write(frame if isinstance(frame, Interlude) else FrameBatch.stack([frame]))
        writer.commit()


@dataclass
class Outcome:
    """Result of one case."""

    name: str
    failed: bool
    told: str


def mutated(ending: str, folder: Path, names: list[str]) -> Iterator[Outcome]:
    """Yield an outcome per applicable mutation of a container, and for the unchanged copies."""
    clip = make(folder, ending)
    plain = folder / f"plain.{ending}"
    film, source = read(clip)
    write(film, plain)
    source.close()
    yield _accused(f"{ending}: unchanged copy", clip, plain)
    cli = folder / f"cli.{ending}"
    # FFmpeg drops the track titles of mov.
    is_mov = ending in ("mov", "mp4", "m4v", "3gp")
    titles = ["-metadata:s:a:0", "title=First", "-metadata:s:a:1", "title=Second"] if is_mov else []
    ffmpeg("-i", clip, "-map", 0, "-dn", "-c", "copy", *titles, cli)
    if ending not in _MOVED_BY_FFMPEG:
        yield _accused(f"{ending}: ffmpeg -c copy", clip, cli)
    unchanged = fingerprint(plain)
    for name in names:
        path = folder / f"mutated.{ending}"
        film, source = read(clip)
        with closing(source):
            try:
                MUTATIONS[name](film)
                write(film, path)
            except (NotApplicableError, LookupError, av.error.FFmpegError, ValueError):
                continue  # not applicable to this file, or refused by the muxer
        if fingerprint(path) in (unchanged, ""):
            continue  # the container cannot store the change
        try:
            found = differences(clip, path)
        except RtdeblurError as error:
            found = [str(error)]
        yield Outcome(f"{ending}: {name}", not found, "; ".join(found) or "not found")


def _accused(name: str, before: Path, after: Path) -> Outcome:
    found = differences(before, after)
    return Outcome(name, bool(found), "; ".join(found) or "same")


def restored(ending: str, folder: Path, targets: list[str]) -> Iterator[Outcome]:
    """Yield an outcome for our own output in each container."""
    clip = folder / f"clip.{ending}"
    for target in targets:
        output = folder / f"own.{target}"
        output.unlink(missing_ok=True)
        name = f"{ending}: restored as {target}"
        try:
            restore(clip, output)
        except RtdeblurError as error:
            yield Outcome(name, True, str(error))
            continue
        yield _accused(name, clip, output)


def main() -> int:
    """Run it; return 1 if a mutation is missed or a faithful copy fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--container", action="append", choices=CONTAINERS, metavar="NAME")
    parser.add_argument("--mutation", action="append", metavar="PATTERN", help="a regular expression")
    parser.add_argument("--show", action="store_true", help="print every case and the output of verify")
    words = parser.parse_args()
    names = [n for n in MUTATIONS if not words.mutation or any(re.search(m, n) for m in words.mutation)]
    chosen = words.container or list(CONTAINERS)
    failures = total = 0
    for ending in chosen:
        with tempfile.TemporaryDirectory() as folder:
            outcomes = list(mutated(ending, Path(folder), names))
            mutations = len(outcomes) - 2
            outcomes += restored(ending, Path(folder), chosen)
        for outcome in outcomes:
            if outcome.failed or words.show:
                print(f"{'FAIL' if outcome.failed else 'ok  '}  {outcome.name}: {outcome.told}"[:400])
        failed = sum(outcome.failed for outcome in outcomes)
        print(f"{ending}: {mutations} mutations, {len(outcomes) - mutations} copies, {failed} wrong")
        failures, total = failures + failed, total + len(outcomes)
    print(f"{total - failures} passed, {failures} failed")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
