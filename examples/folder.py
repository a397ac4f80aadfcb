"""Restore every video of a folder.

    python examples/folder.py FOLDER OUTPUT_FOLDER

The model is loaded once; a file that fails does not stop the others, and what is done is not done again.
"""

import sys
from pathlib import Path

from rtdeblur import Deblurrer, RtdeblurError

if len(sys.argv) != 3:
    sys.exit("usage: python examples/folder.py FOLDER OUTPUT_FOLDER")
source, output = map(Path, sys.argv[1:])
output.mkdir(parents=True, exist_ok=True)
failed = 0
with Deblurrer() as deblurrer:
    for video in sorted(path for path in source.iterdir() if path.is_file()):
        if (output / video.name).exists():
            print(f"{video.name}: done before")
            continue
        try:
            stats = deblurrer.restore_file(video, output / video.name)
            print(f"{video.name}: {stats.frames} frames")
        except RtdeblurError as error:
            print(f"{video.name}: {error}")
            failed += 1
sys.exit(1 if failed else 0)
