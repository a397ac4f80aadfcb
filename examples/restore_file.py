#!/usr/bin/env python3
"""Restore a video file, and check that the output kept everything else.

python examples/restore_file.py in.mp4 out.mp4
"""

from __future__ import annotations

import sys

from rtdeblur import FileReader, FileWriter, Model, Pipeline, RtdeblurError, open_backend, verify


def main(source: str, output: str) -> None:
    with (
        FileReader(source) as reader,
        FileWriter(reader, output) as writer,
        open_backend("auto", Model.load("fast")) as backend,
    ):
        stats = Pipeline(reader, backend, writer, batch_size=4).run()
    print(f"{stats.frames} frames in {stats.wall_seconds:.1f} s with {backend.description}")
    for check in verify(source, output):
        if check.status != "same":
            print(f"{check.name}: {check.status}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except RtdeblurError as error:
        sys.exit(f"error: {error}")
