#!/usr/bin/env python3
"""Restore a clip in GPU memory and compare it with the path through host memory.

    scripts/check_zerocopy.py [VIDEO] [--model NAME]

Frame by frame: NVDEC's frames, plain and restored, against those that the CPU decodes, restored by the engine
for host memory. Then end to end, encoded to a file by NVENC: the number of frames, their timestamps and their
PSNR; and the speed relative to the engine alone. Exits with 1 if frames or the file differ. A GPU without an
encoder (A100, H100, H200) runs only the first part.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click
import numpy as np

from rtdeblur.backends import open_backend
from rtdeblur.backends.base import Backend, EngineOptions
from rtdeblur.backends.identity import IdentityBackend
from rtdeblur.bench import time_pipeline
from rtdeblur.ffmpeg.pixels import downloaded, planar, planes_of
from rtdeblur.ffmpeg.test_clip import write_test_clip
from rtdeblur.frames import Frame, FrameBatch, Interlude, Planes
from rtdeblur.gpu_path import Wanted, connect, obstacle_of
from rtdeblur.media import codecs
from rtdeblur.media.encoder_traits import NVENC
from rtdeblur.media.reader import FileReader
from rtdeblur.media.writer import FileWriter
from rtdeblur.model import DEFAULT_MODEL, Model
from rtdeblur.parity import LEAST_PSNR, worst_psnr
from rtdeblur.pipeline import Pipeline, in_batches, submit

BATCH, FRAMES = 4, 24
LEAST_ENCODED_PSNR = 30.0
"""Least PSNR of NVENC's encoding of a picture, in dB; a wrong picture would be far below."""
WANTED_SHARE = 0.9
"""Share of the engine's frame rate that the whole pipeline should reach."""


def restored(reader: FileReader, backend: Backend, frames: int) -> Iterator[Planes]:
    """Restore the first frames of a reader, in either memory, and return their planes in host memory."""
    pictures = (frame for frame in reader if not isinstance(frame, Interlude))
    for batch in in_batches(islice(pictures, frames), BATCH):
        assert not isinstance(batch, Interlude)
        done = submit(backend, batch)()
        for index, carried in enumerate(done.carriers):
            if isinstance(done, FrameBatch):
                y, u, v = (plane[index, 0] for plane in done.planes)
                yield y, u, v
            else:
                yield planes_of(planar(downloaded(carried.frame)))


def likeness(video: Path, backend: Backend) -> list[float]:
    """PSNR of each frame that stays on the GPU against the host path, for its worst plane, in dB."""
    host, device = FileReader(video), FileReader(video, device="cuda")
    if obstacle := obstacle_of(device.source):
        sys.exit(f"frames cannot stay on the GPU: {obstacle}")
    device.keep_on_device()
    pairs = zip(restored(device, backend, FRAMES), restored(host, backend, FRAMES), strict=True)
    found = [worst_psnr(ours, theirs, 255) for ours, theirs in pairs]
    host.close()
    device.close()
    return found


def whole(video: Path, backend: Backend, output: Path) -> list[float]:
    """Restore a file to a file on the GPU; return the PSNR of its frames against the host path, in dB."""
    reader = FileReader(video, device="cuda")
    writer = FileWriter(reader, output, codec=NVENC, overwrite=True)
    click.echo(f"  {connect(reader, backend, writer, obstacle_of(reader.source))}")
    if not reader.keeps:
        sys.exit("frames did not stay on the GPU")
    stats = Pipeline(reader, backend, writer, batch_size=BATCH).run()
    source, made = FileReader(video), FileReader(output)
    before = [frame for frame in source if isinstance(frame, Frame)]
    after = [frame for frame in made if isinstance(frame, Frame)]
    offset = before[0].pts * source.source.time_base - after[0].pts * made.source.time_base
    times = [
        abs(a.pts * source.source.time_base - b.pts * made.source.time_base - offset)
        for a, b in zip(before, after, strict=False)
    ]
    source.close()
    click.echo(f"  {stats.frames} frames at {stats.fps:.1f} fps; {stats.unrestored} left unrestored")
    if len(before) != len(after) or max(times) > made.source.time_base:
        sys.exit(f"the file holds {len(after)} frames of {len(before)}, or their timestamps differ")
    host = FileReader(video)
    expected = restored(host, backend, len(before))
    found = [worst_psnr(frame.planes, planes, 255) for frame, planes in zip(after, expected, strict=True)]
    host.close()
    made.close()
    return found


def tell(what: str, found: list[float], least: float) -> bool:
    """Print the worst and the mean; return whether all are good enough."""
    exact = sum(np.isinf(found))
    capped = np.minimum(found, 99.0)
    click.echo(
        f"  {what}: {len(found)} frames, {exact} identical, worst {capped.min():.1f} dB, mean "
        f"{capped.mean():.1f} dB (expected {least:.0f} dB)"
    )
    return bool(capped.min() >= least)


@click.command()
@click.argument("video", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", default=DEFAULT_MODEL, metavar="NAME|PATH")
def main(video: Path | None, model: str) -> None:
    """Check the path of frames that stay on the GPU."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = video or folder / "clip.mp4"
        if video is None:
            write_test_clip(clip, 720, 1280, 120)
        options = EngineOptions(folder=folder, notice=lambda text: click.echo(f"    {text}"))
        backend = open_backend("tensorrt", Model.load(model), engines=options)
        click.echo(backend.description)
        try:
            # Decoding is bit-exact by the codecs' standards: no sample may differ.
            good = tell("decoded", likeness(clip, IdentityBackend()), 99.0)
            good &= tell("restored", likeness(clip, backend), LEAST_PSNR)
            if codecs.nvenc_opens():
                good &= tell("encoded", whole(clip, backend, folder / "out.mp4"), LEAST_ENCODED_PSNR)
                compare_speed(clip, backend, folder)
            else:
                click.echo("  this GPU or its driver has no encoder (NVENC): skipping the end-to-end check")
        finally:
            backend.close()
    if not good:
        sys.exit("pictures differ")


def compare_speed(clip: Path, backend: Backend, folder: Path) -> None:
    """Print the frame rates of the engine alone and of the whole pipeline."""
    run = time_pipeline(clip, backend, BATCH, folder, 1, Wanted("cuda", "tensorrt"))
    share = run.whole.fps / run.inference.fps
    verdict = "as expected" if share >= WANTED_SHARE else f"below the {WANTED_SHARE:.0%} expected"
    click.echo(
        f"  engine alone {run.inference.fps:.1f} fps, whole {run.whole.fps:.1f} fps: {share:.0%}, {verdict}; "
        f"decode alone {run.decode.fps:.1f}, encode alone {run.encode.fps:.1f}; {run.way}"
    )


if __name__ == "__main__":
    main()
