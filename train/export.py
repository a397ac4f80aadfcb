"""Writes a model bundle: `<name>.onnx`, the video graph, and `<name>.json`, its manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtdeblur.model import FORMAT_VERSION, INPUTS, OUTPUTS

OPSET = 18


class VideoGraph(nn.Module):
    """Planes of code values in, planes of code values out, around a generator over RGB in [-1, 1].

    The output is the input plus the *change* that the generator makes, converted to Y'CbCr: chroma is never
    resampled on its way through, and a generator that adds nothing gives back the input bit for bit.

    Args:
        generator: (N, 3, H, W) in [-1, 1] to the same, H and W multiples of `stride`.
        stride: what the picture is padded to a multiple of, by reflection at the bottom and the right.
    """

    def __init__(self, generator: nn.Module, stride: int) -> None:
        super().__init__()
        self.generator, self.stride = generator, stride

    def forward(
        self, y: Tensor, u: Tensor, v: Tensor, yuv_to_rgb: Tensor, rgb_to_yuv: Tensor, peak: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Restore a batch.

        Args:
            y: (N, 1, H, W) code values; uint8, or any type that holds them.
            u: (N, 1, Hc, Wc), any chroma size.
            v: like u.
            yuv_to_rgb: (3, 4) float32, code values to RGB in [0, 1]; the offset in the last column.
            rgb_to_yuv: (3, 4) float32, the inverse; its offset plays no part, since changes are converted.
            peak: (1,) float32, the largest code value: 255 for 8 bits.

        Returns:
            y, u, v of the same shapes and type.
        """
        height, width = y.shape[-2:]
        planes = [plane.float() for plane in (y, u, v)]
        chroma = [F.interpolate(p, (height, width), mode="bilinear", align_corners=False) for p in planes[1:]]
        x = 2 * _apply(yuv_to_rgb, planes[0], *chroma).clamp(0, 1) - 1
        padded = F.pad(x, (0, -width % self.stride, 0, -height % self.stride), mode="reflect")
        change = (self.generator(padded)[..., :height, :width] - x) / 2
        dy, du, dv = _apply(rgb_to_yuv * _WITHOUT_OFFSET, *change.split(1, dim=1)).split(1, dim=1)
        changes = [
            dy,
            *(F.interpolate(d, u.shape[-2:], mode="bilinear", align_corners=False) for d in (du, dv)),
        ]
        restored = [(p + d).round().clamp(min=0).minimum(peak) for p, d in zip(planes, changes, strict=True)]
        out_y, out_u, out_v = (r.to(y.dtype) for r in restored)
        return out_y, out_u, out_v


_WITHOUT_OFFSET = torch.tensor([1.0, 1.0, 1.0, 0.0])


def _apply(matrix: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Three planes (N, 1, H, W) through a (3, 4) matrix, to (N, 3, H, W).

    Spelled out, since a backend may run a MatMul in half precision, and these must stay float32.
    """
    rows = [matrix[i, 0] * a + matrix[i, 1] * b + matrix[i, 2] * c + matrix[i, 3] for i in range(3)]
    return torch.cat(rows, dim=1)


def export_onnx(generator: nn.Module, stride: int, path: Path) -> None:
    """Write the float32 video graph, with N, H, W, Hc and Wc dynamic and uint8 planes."""
    graph = VideoGraph(generator, stride).eval()
    size = 4 * stride
    luma = torch.randint(0, 256, (2, 1, size, size + stride), dtype=torch.uint8)
    chroma = luma[..., ::2, ::2].contiguous()
    matrix = torch.eye(3, 4)
    n, h, w, hc, wc = (torch.export.Dim.DYNAMIC for _ in range(5))
    luma_dims, chroma_dims = {0: n, 2: h, 3: w}, {0: n, 2: hc, 3: wc}
    program = torch.onnx.export(
        graph,
        (luma, chroma, chroma.clone(), matrix, matrix.clone(), torch.tensor([255.0])),
        dynamo=True,
        opset_version=OPSET,
        optimize=True,
        external_data=False,
        input_names=list(INPUTS),
        output_names=list(OUTPUTS),
        dynamic_shapes=(luma_dims, chroma_dims, chroma_dims, None, None, None),
    )
    assert program is not None
    proto = program.model_proto
    onnx.checker.check_model(proto)
    onnx.save_model(proto, path)


def write_bundle(generator: nn.Module, stride: int, folder: Path, manifest: dict[str, Any]) -> None:
    """Write `<name>.onnx` and `<name>.json`; `manifest` gives all but format version, sha256 and stride."""
    path = folder / f"{manifest['name']}.onnx"
    export_onnx(generator, stride, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    whole = {"format_version": FORMAT_VERSION, "sha256": digest, "stride": stride, **manifest}
    path.with_suffix(".json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
