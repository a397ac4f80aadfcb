"""Video graph, which applies a generator to planes, and its export to ONNX."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtdeblur.dropout import INPUTS as DROPOUT_INPUTS
from rtdeblur.model import INPUTS, OUTPUTS
from train.networks.generators import Generator

OPSET = 18


class VideoGraph(nn.Module):
    """Applies a generator over RGB in [-1, 1] to planes of code values.

    The output is the input plus the *change* that the generator makes, converted to Y'CbCr: chroma is never
    resampled, and a generator that adds nothing returns the input bit for bit. The picture is
    reflection-padded to the generator's stride at the bottom and the right. The generator runs in the type of
    its weights, everything else in float32.
    """

    without_offset: Tensor

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator
        self.register_buffer("without_offset", torch.tensor([1.0, 1.0, 1.0, 0.0]), persistent=False)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Restore a batch.

        Args:
            inputs: those of `rtdeblur.model.INPUTS` and, for a generator with dropout, of
                `rtdeblur.dropout.INPUTS`. y: (N, 1, H, W) code values; uint8, or any type that can represent
                them. u, v: (N, 1, Hc, Wc), any chroma size. yuv_to_rgb: (3, 4) float32, code values to RGB
                in [0, 1], the offset in the last column. rgb_to_yuv: (3, 4) float32, the inverse; its
                offset is unused, since only changes are converted. peak: (1,) float32, the largest code
                value, 255 for 8 bits.

        Returns:
            y, u, v of the same shapes and type.
        """
        y, u, v, yuv_to_rgb, rgb_to_yuv, peak, *signs = inputs
        size, chroma_size = y.shape[-2:], u.shape[-2:]
        planes = [plane.float() for plane in (y, u, v)]
        x = 2 * _apply(yuv_to_rgb, planes[0], *(_resize(p, size) for p in planes[1:])).clamp(0, 1) - 1
        dy, du, dv = _apply(rgb_to_yuv * self.without_offset, *self._change(x, signs).chunk(3, dim=1)).chunk(
            3, 1
        )
        changes = [dy, _resize(du, chroma_size), _resize(dv, chroma_size)]
        restored = [(p + d).round().clamp(min=0).minimum(peak) for p, d in zip(planes, changes, strict=True)]
        return tuple(plane.to(y.dtype) for plane in restored)

    def _change(self, x: Tensor, signs: list[Tensor]) -> Tensor:
        """Return the change (N, 3, H, W) in [-1, 1], limited so that the sum stays in the range of x."""
        (height, width), stride = x.shape[-2:], self.generator.stride
        padded = F.pad(x, (0, -width % stride, 0, -height % stride), mode="reflect")
        weights = next(self.generator.parameters()).dtype
        residual = self.generator.residual(padded.to(weights), *signs)[..., :height, :width].float()
        return ((x + residual).clamp(-1, 1) - x) / 2


def _resize(plane: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(plane, size, mode="bilinear", align_corners=False)


def _apply(matrix: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Apply a (3, 4) matrix to three planes (N, 1, H, W); returns (N, 3, H, W).

    Written out, because a backend may run a MatMul in half precision, and this must stay float32.
    """
    rows = [matrix[i, 0] * a + matrix[i, 1] * b + matrix[i, 2] * c + matrix[i, 3] for i in range(3)]
    return torch.cat(rows, dim=1)


def export_onnx(generator: Generator, path: Path) -> None:
    """Write a generator's video graph, float32 or half, with dynamic N, H, W, Hc, Wc and uint8 planes."""
    height, width = 4 * generator.stride, 5 * generator.stride
    luma = torch.zeros(2, 1, height, width, dtype=torch.uint8)
    chroma, matrix = luma[..., ::2, ::2].contiguous(), torch.eye(3, 4)
    inputs = [luma, chroma, chroma.clone(), matrix, matrix.clone(), torch.tensor([255.0])]
    n, h, w, hc, wc, th, tw = (torch.export.Dim.DYNAMIC for _ in range(7))
    shapes: list[dict[int, object] | None] = [{0: n, 2: h, 3: w}, {0: n, 2: hc, 3: wc}, {0: n, 2: hc, 3: wc}]
    shapes += [None, None, None]
    names = list(INPUTS)
    if generator.sites:
        inputs += [torch.from_numpy(table) for table in generator.sites.off(height, width)]
        shapes += [{2: th}, {2: tw}, {1: th, 2: tw}]
        names += DROPOUT_INPUTS
    # The exporter warns about missing torchvision operators, even unneeded ones.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # a deprecation within the exporter
        program = torch.onnx.export(
            VideoGraph(generator).eval(),
            tuple(inputs),
            dynamo=True,
            opset_version=OPSET,
            optimize=True,
            external_data=False,
            verbose=False,
            input_names=names,
            output_names=list(OUTPUTS),
            dynamic_shapes=(tuple(shapes),),
        )
    assert program is not None
    proto = program.model_proto
    _strip(proto)
    onnx.checker.check_model(proto)
    onnx.save_model(proto, path)


def _strip(proto: onnx.ModelProto) -> None:
    """Remove the exporter's metadata: stack traces with local paths."""
    graph = proto.graph
    for item in (
        proto,
        graph,
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.value_info,
        *graph.initializer,
    ):
        del item.metadata_props[:]
        item.doc_string = ""
