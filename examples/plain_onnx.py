"""Run a plain ONNX file of `python -m train export --plain` by ONNX Runtime: plain_onnx.py MODEL IN OUT."""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime
from PIL import Image


def main(model: str, source: str, output: str) -> None:
    session = onnxruntime.InferenceSession(model)
    picture = np.asarray(Image.open(source).convert("RGB"), np.float32) / 255
    (restored,) = session.run(["restored"], {"rgb": picture.transpose(2, 0, 1)[None]})
    Image.fromarray(np.rint(restored[0].transpose(1, 2, 0) * 255).astype(np.uint8)).save(output)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python examples/plain_onnx.py MODEL IN OUT")
    main(*sys.argv[1:])
