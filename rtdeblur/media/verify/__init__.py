"""Verification that an output kept everything of its source, with an independent reader."""

from __future__ import annotations

from pathlib import Path

from rtdeblur.media.verify.compare import Check, compare
from rtdeblur.media.verify.container_limits import plain_copy
from rtdeblur.media.verify.contents import read_contents


def verify(source: str | Path, output: str | Path) -> list[Check]:
    """Compare a restored video with its source: frames, timestamps, sound, streams, tags, colour.

    Both files are read in full.

    Returns:
        One check per property. The output is good if none is "different"; "not held" means that its container
        cannot store the source's value.

    Raises:
        InputError: a file is missing or has no decodable video.
    """
    source, output = Path(source), Path(output)
    return compare(read_contents(source), read_contents(output), lambda: plain_copy(source, output))
