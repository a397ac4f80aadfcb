"""Restore one array.

    python examples/one_array.py PHOTO OUTPUT

Any RGB array will do: uint8, uint16, or floating from 0 to 1, as OpenCV, Pillow, imageio and PyAV make it.
"""

import sys

import numpy as np
from PIL import Image

import rtdeblur

if len(sys.argv) != 3:
    sys.exit("usage: python examples/one_array.py PHOTO OUTPUT")
source, output = sys.argv[1:]
blurred = np.asarray(Image.open(source).convert("RGB"))
restored = rtdeblur.restore(blurred, strength=1.0)

Image.fromarray(restored).save(output)
change = np.abs(restored.astype(int) - blurred).mean()
print(f"{output}: {restored.shape[1]}×{restored.shape[0]}, mean change {change:.2f} of 255")
