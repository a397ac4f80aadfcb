"""JPEG encoding for pages."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def jpeg(rgb: NDArray[np.uint8], quality: int = 92) -> bytes:
    """Encode a JPEG with full chroma resolution.

    Args:
        rgb: (H, W, 3) uint8.
        quality: 1 to 95.
    """
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=quality, subsampling="4:4:4", optimize=True)
    return file.getvalue()
