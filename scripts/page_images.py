#!/usr/bin/env python3
"""Take the docs' screenshots of the pages written by `rtdeblur preview` and `rtdeblur compare`.

    python scripts/page_images.py [FOLDER]

Blurs the drawn street of the model's card by 4 to 12 pixels. Needs chromium and the trainer's packages.
FOLDER defaults to docs/images.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import av
import click
import numpy as np
from PIL import Image

from train.measure.demo_scene import blurred_scene

_LENGTHS = (4.0, 12.0, 8.0)
"""Blur length for each second, in pixels."""
_RATE = 10
_SIZES = {"": "1100,900", "-phone": "500,900"}
"""Size of the browser window, (width, height) in pixels, by suffix of the image name."""


def write_clip(path: Path) -> None:
    """Write a video of the street, one second per blur length."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=_RATE, options={"crf": "12"})
        scenes = [blurred_scene(length) for length in _LENGTHS]
        height, width = (side // 2 * 2 for side in scenes[0].shape[:2])
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in scenes:
            for _ in range(_RATE):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), "rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode())


def shoot(page: Path, folder: Path) -> None:
    """Photograph a page on a wide screen and on a phone, as JPEG."""
    for end, size in _SIZES.items():
        shot = page.with_suffix(".png")
        command = ["chromium", "--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={size}"]
        subprocess.run([*command, f"--screenshot={shot}", page.as_uri()], check=True, capture_output=True)
        with Image.open(shot) as image:
            image.convert("RGB").save(folder / f"{page.stem}{end}.jpg", quality=85)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("docs/images"))
def main(folder: Path) -> None:
    """Write preview.jpg, compare.jpg and their -phone.jpg to FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_clip(work / "street.mp4")
        for words in (
            ("street.mp4", "-o", "sharp.mp4", "-q"),
            ("preview", "street.mp4", "-o", "preview.html"),
            ("compare", "street.mp4", "sharp.mp4", "-o", "compare.html"),
        ):  # so that the pages show file names without folders
            subprocess.run([sys.executable, "-m", "rtdeblur", *words], check=True, cwd=work)
        for page in ("preview.html", "compare.html"):
            shoot(work / page, folder)


if __name__ == "__main__":
    main()
