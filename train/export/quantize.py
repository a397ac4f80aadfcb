"""Quantised bundles: `<name>-int8.onnx`, made from the float32 bundle by NNCF (post-training quantisation).

Convolutions inside the generator become int8, weights per channel, between QuantizeLinear and
DequantizeLinear. All ranges are symmetric, since TensorRT refuses zero points other than zero. The first and
the last convolution, additions and everything around the generator stay float32, so highlights are not
clipped. The ranges in between are the extremes of a few dozen crops. Those of 320 crops include outliers,
which make steps coarse (and cost 0.34 dB); means of each crop's extremes, over 48 or 320 crops, clip hard
edges, so that a page of text comes back at only 31 to 36 dB. The result is therefore measured on what it
restores and on what it must not change.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from rtdeblur.frames import Colour
from rtdeblur.model import INPUTS, Model, base_name
from train.data.pictures import Picture, list_pictures, read_picture
from train.errors import DataError, ExportError, ParityError
from train.export.bundle import Feed, to_feed
from train.measure.evaluate import psnr
from train.measure.harm import LEAST_PSNR, UNHARMED
from train.measure.restorer import open_restorer
from train.measure.suite import DECISIVE, Suite

CROPS = 48
"""Crops to calibrate on."""
_SIDE = 192
_HARM_SIDE = 256
_SATURATED = 4
"""Every fourth crop is the brightest of as many."""
_COLOUR = Colour("rgb", True)
MOST_LOSS = 0.10
"""PSNR that quantisation may cost on a set of the suite, dB."""
MOST_BYTES = 25 << 20


def quantize(
    model: Path,
    pictures: Sequence[Path],
    suite: Path | None = None,
    crops: int = CROPS,
    report: Callable[[str, float], None] = lambda name, loss: None,
) -> Path:
    """Write the int8 variant of a bundle next to it.

    Args:
        model: the float32 bundle's .onnx.
        pictures: folders of frames to calibrate on, as the model will see them: blurred, dark, saturated.
        suite: folder of the validation suite; the result is refused if it loses more than `MOST_LOSS` there,
            or harms a picture that needs nothing (`train.measure.harm`).
        crops: number of crops to calibrate on.
        report: gets each set of the suite and what it loses, dB.

    Returns:
        the .onnx file.

    Raises:
        DataError: there are no pictures, or none is large enough.
        ExportError: the graph has too few convolutions, or NNCF is not installed.
        ParityError: the result is too large or loses too much; nothing was written.
    """
    loaded = Model.load(str(model)).variant("fp32")
    floats = {each.manifest.sha256 for each in (loaded, loaded.variant("auto"))}  # float32, and half if there
    proto = onnx.load_model_from_string(loaded.onnx)
    feeds = [to_feed(None, crop, _COLOUR) for crop in _crops(pictures, crops)]
    graph = _quantized(_without_scaling(proto), feeds)
    data = graph.SerializeToString()
    if len(data) > MOST_BYTES:
        raise ParityError(f"the int8 graph has {len(data) >> 20} MB, expected at most {MOST_BYTES >> 20}")
    path = model.with_name(f"{base_name(model.stem)}-int8.onnx")
    part = path.with_name(f".{path.name}")
    manifest = replace(
        loaded.manifest,
        name=path.stem,
        sha256=hashlib.sha256(data).hexdigest(),
        precision="int8",
        architecture=loaded.manifest.architecture | {"quantised_from": sorted(floats)},
    )
    facts = {key: value for key, value in asdict(manifest).items() if value is not None}
    try:
        part.write_bytes(data)
        part.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        for name, loss in losses(model, part, suite) if suite else ():
            report(name, loss)
            if loss > MOST_LOSS:
                raise ParityError(
                    f"the int8 graph loses {loss:.3f} dB on {name}, expected at most {MOST_LOSS:.2f}; "
                    "calibrate on more varied pictures"
                )
        if suite:
            _check_harm(part)
        part.replace(path)
        part.with_suffix(".json").replace(path.with_suffix(".json"))
    finally:
        part.unlink(missing_ok=True)
        part.with_suffix(".json").unlink(missing_ok=True)
    return path


def losses(full: Path, quantized: Path, suite: Path) -> Iterator[tuple[str, float]]:
    """Yield the real sets of the suite, and by how much the mean PSNR of a graph is below another's, dB."""
    exact, coarse = (open_restorer(path).restore for path in (full, quantized))
    for name, sources in Suite(suite).sets.items():
        if name not in DECISIVE[:3]:
            continue
        scores = []
        for source in sources:
            blurred, sharp = source()
            scores.append([psnr(restore(blurred), sharp) for restore in (exact, coarse)])
        before, after = np.mean(scores, axis=0)
        yield name, float(before - after)


def _crops(folders: Sequence[Path], count: int) -> Iterator[Picture]:
    """Cut crops evenly from all pictures, every `_SATURATED`-th the brightest of several."""
    files = [path for folder in folders for path in list_pictures(folder)]
    rng = np.random.default_rng(0)
    for index in range(count):
        picture = read_picture(files[index % len(files)])
        height, width = picture.shape[:2]
        if min(height, width) < 16:
            raise DataError(
                f"{files[index % len(files)]} has {width}×{height} pixels, expected at least 16×16"
            )
        cuts = []
        for _ in range(1 if index % _SATURATED else _SATURATED):
            y, x = (int(rng.integers(max(1, side - _SIDE + 1))) for side in (height, width))
            cuts.append(picture[y : y + _SIDE, x : x + _SIDE])
        yield max(cuts, key=lambda cut: int((cut >= 250).sum()))


def _check_harm(path: Path) -> None:
    """Refuse a graph that changes pictures which need nothing."""
    restore = open_restorer(path).restore
    for name, draw in UNHARMED.items():
        picture = draw(_HARM_SIDE, _HARM_SIDE)
        likeness = psnr(restore(picture), picture)
        if likeness < LEAST_PSNR:
            raise ParityError(
                f"the int8 graph changes a sharp picture ({name}: {likeness:.1f} dB, expected at least "
                f"{LEAST_PSNR:.0f}); calibrate on other pictures or another number of crops"
            )


def _quantized(proto: onnx.ModelProto, feeds: list[Feed]) -> onnx.ModelProto:
    try:
        import nncf
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet
    except ImportError:
        raise ExportError("NNCF is not installed; try: pip install -e '.[train,quantize]'") from None
    logging.getLogger("nncf").setLevel(logging.WARNING)
    nodes = proto.graph.node
    convolutions = [index for index, node in enumerate(nodes) if node.op_type == "Conv"]
    if len(convolutions) < 3:
        raise ExportError(f"the graph has {len(convolutions)} convolutions, expected at least 3")
    first, last = convolutions[0], convolutions[-1]
    ends = {nodes[index].input[1] for index in (first, last)}  # a generator at two scales runs them twice
    exact = [
        node.name
        for index, node in enumerate(nodes)
        if not first < index < last
        or node.op_type not in ("Conv", "Relu")
        or (node.op_type == "Conv" and (node.input[1] in ends or _groups(node) > 1))  # grouped: scaling
    ]
    quantized: onnx.ModelProto = nncf.quantize(
        proto,
        nncf.Dataset(feeds),
        subset_size=len(feeds),
        preset=nncf.QuantizationPreset.PERFORMANCE,  # symmetric, as TensorRT requires
        ignored_scope=nncf.IgnoredScope(names=exact, validate=False),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
        ),
    )
    onnx.checker.check_model(quantized)
    return quantized


def _groups(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


def _without_scaling(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Replace `rgb_to_yuv * [1, 1, 1, 0]` by a choice of columns.

    In a quantised graph, OpenVINO 2026.4 takes a product with a constant for a dequantisation and moves it
    past the nodes that follow, which breaks their shapes.
    """
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    constants |= {  # as PyTorch's older exporter writes them
        node.output[0]: node.attribute[0].t for node in proto.graph.node if node.op_type == "Constant"
    }
    for node in proto.graph.node:
        if node.op_type == "Mul" and INPUTS[4] in node.input:
            (other,) = (name for name in node.input if name != INPUTS[4])
            kept = numpy_helper.to_array(constants[other]) != 0
            proto.graph.initializer.append(numpy_helper.from_array(kept, "kept_columns"))
            proto.graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), "no_offset"))
            if constants[other] in proto.graph.initializer:
                proto.graph.initializer.remove(constants[other])
            node.op_type = "Where"
            del node.input[:]
            node.input.extend(["kept_columns", INPUTS[4], "no_offset"])
    return proto
