"""Video graph, which applies a generator to planes, and its export to ONNX."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtdeblur.dropout import INPUTS as DROPOUT_INPUTS
from rtdeblur.model import INPUTS, OUTPUTS
from train.errors import ExportError
from train.export.plain import OPSET, OnnxGenerator, inline
from train.networks.generators import Generator


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
        return (_restored(self.generator, x, signs) - x) / 2


class PlainGraph(nn.Module):
    """Graph for other programs: float32 RGB in [0, 1], (N, 3, H, W), in and out."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, rgb: Tensor) -> Tensor:
        """Restore pictures of any size."""
        return _restored(self.generator, 2 * rgb.clamp(0, 1) - 1, []) / 2 + 0.5


def _restored(generator: Generator, x: Tensor, signs: list[Tensor]) -> Tensor:
    """Restore (N, 3, H, W) in [-1, 1] of any size, padded by reflection at the bottom and the right."""
    (height, width), stride = x.shape[-2:], generator.stride
    padded = F.pad(x, (0, -width % stride, 0, -height % stride), mode="reflect")
    residual = generator.residual(padded.to(generator.input_dtype), *signs)
    return (x + residual[..., :height, :width].float()).clamp(-1, 1)


def _resize(plane: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(plane, size, mode="bilinear", align_corners=False)


def _apply(matrix: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Apply a (3, 4) matrix to three planes (N, 1, H, W); returns (N, 3, H, W).

    Written out, because a backend may run a MatMul in half precision, and this must stay float32.
    """
    rows = [matrix[i, 0] * a + matrix[i, 1] * b + matrix[i, 2] * c + matrix[i, 3] for i in range(3)]
    return torch.cat(rows, dim=1)


def export_onnx(generator: Generator, path: Path) -> None:
    """Write a generator's video graph, float32 or half, with dynamic N, H, W, Hc, Wc and uint8 planes.

    Raises:
        ExportError: the generator uses an operation that ONNX lacks.
    """
    unit = generator.stride * -(-16 // generator.stride)  # large enough to pad by reflection
    height, width = 4 * unit, 5 * unit
    luma = torch.zeros(2, 1, height, width, dtype=torch.uint8)
    chroma, matrix = luma[..., ::2, ::2].contiguous(), torch.eye(3, 4)
    inputs = [luma, chroma, chroma.clone(), matrix, matrix.clone(), torch.tensor([255.0])]
    picture, small = {0: "n", 2: "h", 3: "w"}, {0: "n", 2: "hc", 3: "wc"}
    axes = dict(zip((*INPUTS[:3], *OUTPUTS), 2 * [picture, small, small], strict=True))
    names = list(INPUTS)
    if generator.sites:
        inputs += [torch.from_numpy(table) for table in generator.sites.off(height, width)]
        axes |= dict(zip(DROPOUT_INPUTS, ({2: "th"}, {2: "tw"}, {1: "th", 2: "tw"}), strict=True))
        names += DROPOUT_INPUTS
    feed, traced = dict(zip(names, inputs, strict=True)), generator.traced
    proto = to_onnx(generator.title, VideoGraph(generator), feed, OUTPUTS, axes, traced=traced)
    if isinstance(generator, OnnxGenerator):
        proto = inline(proto, generator.proto)
    onnx.checker.check_model(proto)
    onnx.save_model(proto, path)


def export_plain(generator: Generator, path: Path) -> None:
    """Write a generator as a plain graph, `rgb` to `restored`; N, H and W dynamic, dropout off.

    Raises:
        ExportError: the generator computes something that ONNX lacks.
    """
    rgb = torch.zeros(2, 3, 4 * generator.stride, 5 * generator.stride)
    axes = {name: {0: "n", 2: "h", 3: "w"} for name in ("rgb", "restored")}
    graph, traced = PlainGraph(generator), generator.traced
    proto = to_onnx(generator.title, graph, {"rgb": rgb}, ("restored",), axes, traced=traced)
    if isinstance(generator, OnnxGenerator):
        proto = inline(proto, generator.proto)
    onnx.checker.check_model(proto)
    onnx.save_model(proto, path)


def to_onnx(
    title: str,
    graph: nn.Module,
    inputs: dict[str, Tensor],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
    *,
    traced: bool = False,
) -> onnx.ModelProto:
    """Write a module as ONNX.

    Args:
        title: name of the network, for messages.
        graph: takes the inputs in their order.
        inputs: example inputs by name.
        outputs: names of what it returns.
        axes: names of the dynamic axes of inputs and outputs.
        traced: use PyTorch's older exporter (see `Generator.traced`).

    Raises:
        ExportError: the network computes something that ONNX lacks.
    """
    options: dict[str, Any] = {"dynamo": False, "dynamic_axes": axes}
    if not traced:
        shapes = tuple(dict.fromkeys(axes.get(name, {}), torch.export.Dim.DYNAMIC) for name in inputs)
        takes_many = len(inputs) > 1  # `VideoGraph.forward` takes them as one tuple
        options = {
            "dynamo": True,
            "optimize": True,
            "dynamic_shapes": (shapes,) if takes_many else shapes,
        }
    # The exporter logs which of torchvision's operators it lacks, needed or not.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    torch._C._jit_set_onnx_log_enabled(False)  # it would print the whole graph of a network that fails
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters, about themselves and each other
        try:
            program = torch.onnx.export(
                graph.eval(),
                tuple(inputs.values()),
                cast(Any, None if options["dynamo"] else buffer),  # it takes what is like a file too
                opset_version=OPSET,
                external_data=False,
                verbose=False,
                input_names=list(inputs),
                output_names=list(outputs),
                **options,
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            cause = error.__cause__ or error
            words = " ".join(str(cause).split())[:200]
            raise ExportError(f"{title} does not export to ONNX: {words}") from error
    proto = program.model_proto if program else onnx.load_from_string(buffer.getvalue())
    _strip(proto)
    return proto


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
