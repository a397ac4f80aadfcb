"""Whether an output kept all that its source holds, read by code of its own."""

from __future__ import annotations

from pathlib import Path

from rtdeblur.media.verify.compare import Check, compare
from rtdeblur.media.verify.container_limits import plain_copy
from rtdeblur.media.verify.contents import read_contents


def verify(source: str | Path, output: str | Path) -> list[Check]:
    """Compare a restored video with its source: frames, times, sound, streams, tags, colour.

    Both files are read whole.

    Returns:
        One check per thing compared. The output is good if none is "different"; "not held" means that its
        container has no place for what the source has.

    Raises:
        InputError: one of the files is missing or holds no video that can be decoded.
    """
    source, output = Path(source), Path(output)
    return compare(read_contents(source), read_contents(output), lambda: plain_copy(source, output))
