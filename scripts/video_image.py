#!/usr/bin/env python3
"""Draw the README's picture: a frame of a shaky video of the drawn street, restored by `fast` and by `fine`.

    python scripts/video_image.py [FOLDER]

Writes video.jpg to FOLDER (docs/images by default) and prints the PSNR of each panel, in brackets without
neighbouring frames. Needs the trainer's packages.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

import rtdeblur
from train.data.pictures import write_picture
from train.measure.demo_scene import filmed_scene, labelled, sharp_scene
from train.measure.evaluate import psnr

_RATE = 30


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path("docs/images"))
def main(folder: Path) -> None:
    """Restore the frames and draw the picture."""
    frames, sharp = filmed_scene(), sharp_scene()
    middle = len(frames) // 2
    panels = {"blurred": frames[middle]}
    print(f"blurred {psnr(frames[middle], sharp):.2f} dB")
    for name in ("fast", "fine"):
        with rtdeblur.Deblurrer(name, precision="fp32", gate="off") as deblurrer:
            panels[name] = list(deblurrer.stream(frames, rate=_RATE))[middle]
            alone = deblurrer.restore(frames[middle])
        print(f"{name} {psnr(panels[name], sharp):.2f} dB ({psnr(alone, sharp):.2f})")
    panels["sharp"] = sharp
    rows = [labelled(picture, words) for words, picture in panels.items()]
    write_picture(folder / "video.jpg", np.vstack([np.hstack(rows[:2]), np.hstack(rows[2:])]))


if __name__ == "__main__":
    main()
