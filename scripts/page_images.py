#!/usr/bin/env python3
"""Take the docs' screenshots of the pages written by `rtdeblur preview` and `rtdeblur compare`.

    python scripts/page_images.py [FOLDER]

Blurs the drawn street of the model's card by 4 to 12 pixels. Needs chromium and the trainer's packages.
FOLDER defaults to docs/images.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image
from street import command_of

_SIZES = {"": "1100,900", "-phone": "500,900"}
"""Size of the browser window, (width, height) in pixels, by suffix of the image name."""


def shoot(page: Path, folder: Path) -> None:
    """Photograph a page on a wide screen and on a phone, as JPEG."""
    for end, size in _SIZES.items():
        shot = page.with_suffix(".png")
        command = ["chromium", "--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={size}"]
        subprocess.run([*command, f"--screenshot={shot}", page.as_uri()], check=True, capture_output=True)
        with Image.open(shot) as image:
            image.convert("RGB").save(folder / f"{page.stem}{end}.jpg", quality=85)


@command_of
def main(work: Path, folder: Path) -> None:
    """Write preview.jpg, compare.jpg and their -phone.jpg to FOLDER."""
    for words in (
        ("street.mp4", "-o", "sharp.mp4", "-q"),
        ("preview", "street.mp4", "-o", "preview.html"),
        ("compare", "street.mp4", "sharp.mp4", "-o", "compare.html"),
    ):  # in the folder, so that the pages show file names without folders
        subprocess.run([sys.executable, "-m", "rtdeblur", *words], check=True, cwd=work)
    for page in ("preview.html", "compare.html"):
        shoot(work / page, folder)


if __name__ == "__main__":
    main()
