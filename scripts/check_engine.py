#!/usr/bin/env python3
"""Run engines on this machine's GPU and compare them with the CPU's float32 result.

    scripts/check_engine.py [VIDEO]

For each installed TensorRT flavour: the engine for its default targets and, if the GPU is not among them, one
for this GPU; fp16 and fp32, at 8 and 10 bits, with a generated picture and frames of VIDEO. Prints TensorRT's
message if it refuses. Exits with 1 if an engine is below 50 dB, or if none runs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import click
import numpy as np

from rtdeblur.backends.base import EngineOptions
from rtdeblur.backends.openvino import OpenVINOBackend
from rtdeblur.backends.tensorrt import SLOTS, TensorRTBackend
from rtdeblur.backends.tensorrt.flavours import CURRENT, FLAVOURS, Flavour
from rtdeblur.backends.tensorrt.gate import test_picture
from rtdeblur.backends.tensorrt.spec import Target
from rtdeblur.cuda import open_driver
from rtdeblur.cuda.base import DeviceInfo
from rtdeblur.errors import ModelError, RtdeblurError
from rtdeblur.frames import Colour, Frame, FrameBatch
from rtdeblur.model import Model, Precision, bundled_models
from rtdeblur.parity import LEAST_PSNR, worst_psnr

SIZES = ((256, 256), (480, 854), (720, 1280), (1080, 1920))
FRAMES = 8
PRECISIONS: tuple[Precision, ...] = ("fp16", "fp32")


def pictures(video: Path | None) -> Iterator[tuple[str, FrameBatch]]:
    """Test inputs: generated pictures of several sizes and depths, and a few frames of a real video."""
    for height, width in SIZES:
        for depth in (8, 10):
            chroma = (-(-height // 2), -(-width // 2))
            name = f"picture {width}×{height}, {depth} bits"
            yield name, test_picture((height, width), chroma, Colour(bit_depth=depth))
    if video:
        from rtdeblur.media.reader import FileReader

        reader = FileReader(video)
        frames = [frame for frame, _ in zip(reader, range(3 * FRAMES), strict=False)]
        kept = [frame for frame in frames if isinstance(frame, Frame)][::3]
        reader.close()
        yield f"{len(kept)} frames of {video.name}", FrameBatch.stack(kept)


def targets(flavour: Flavour, device: DeviceInfo) -> list[Target]:
    """Targets to try: the default rule's for this GPU, the portable set, and the GPU itself if not in it."""
    found = [Target.of(flavour, device.name, device.compute_capability)]
    if flavour.portable:
        found.append(Target(flavour.name, flavour.version))
        if device.compute_capability not in flavour.targets:
            found.append(Target(flavour.name, flavour.version, (CURRENT,)))
    return list(dict.fromkeys(found))


def check(
    model: Model, flavour: Flavour, target: Target, folder: Path, video: Path | None
) -> Iterator[float]:
    """Restore every picture on the GPU; return the PSNR against the CPU's result, in dB."""
    options = EngineOptions(flavour.name, folder, notice=lambda text: click.echo(f"    {text}"))
    driver = open_driver()
    backend = TensorRTBackend(model, driver, flavour, slots=SLOTS, options=options, target=target)
    exact = OpenVINOBackend(_exact(model), precision="fp32")
    click.echo(f"  for {target.device}: {model.manifest.name}")
    try:
        for name, batch in pictures(video):
            began = time.perf_counter()
            restored = backend.infer(batch)
            seconds = time.perf_counter() - began
            likeness = worst_psnr(restored.planes, exact.infer(batch).planes, batch.colour.peak)
            changed = np.abs(restored.planes[0].astype(int) - batch.planes[0]).mean()
            again = all(
                (a == b).all() for a, b in zip(backend.infer(batch).planes, restored.planes, strict=True)
            )
            click.echo(
                f"    {name}: {likeness:.1f} dB; first in {seconds:.2f} s; changed by {changed:.2f} levels; "
                f"{'the same bytes again' if again else 'DIFFERENT BYTES the second time'}; "
                f"{backend.unrestored} left unrestored"
            )
            yield likeness
    finally:
        backend.close()
        exact.close()


def _exact(model: Model) -> Model:
    """The float32 graph; the model itself if it ships only in half precision."""
    try:
        return model.variant("fp32")
    except ModelError:
        return model


@click.command()
@click.argument("video", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(video: Path | None) -> None:
    """Check every engine that can be built here."""
    driver = open_driver()
    device, (free, total) = driver.device, driver.memory()
    click.echo(f"{device}; {free >> 20} of {total >> 20} MiB free; by {driver.name}")
    driver.close()
    results: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for flavour in FLAVOURS.values():
            if not flavour.installed:
                click.echo(f"{flavour.title}: not installed")
                continue
            click.echo(
                f"{flavour.title} {flavour.version}; builds for {', '.join(flavour.targets) or 'any GPU'}"
            )
            for name in bundled_models():
                for precision, target in product(PRECISIONS, targets(flavour, device)):
                    try:
                        model = Model.load(name).variant(precision)
                        results.extend(check(model, flavour, target, Path(folder), video))
                    except RtdeblurError as error:
                        click.echo(f"    REFUSED: {error}")
    if not results or min(results) < LEAST_PSNR:
        sys.exit("an engine differs too much from the CPU's result, or none ran")
    click.echo(f"{len(results)} results, worst {min(results):.1f} dB (expected {LEAST_PSNR:.0f} dB)")


if __name__ == "__main__":
    main()
