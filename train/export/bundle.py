"""Export of model bundles: `<name>.onnx`, the video graph, and `<name>.json`, its manifest.

A bundle is written only if its graph is correct: float32 is compared with PyTorch, half precision with
float32.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import nn

from rtdeblur.dropout import INPUTS as DROPOUT_INPUTS
from rtdeblur.frames import Colour
from rtdeblur.model import FORMAT_VERSION, INPUTS, Manifest
from rtdeblur.parity import LEAST_PSNR, worst_psnr
from train.data.pictures import Picture, list_pictures, read_picture
from train.errors import ConfigError, ParityError
from train.export.graph import PlainGraph, VideoGraph, export_onnx, export_plain
from train.fit.checkpoint import load_generator
from train.fit.config import load_config
from train.measure.metadata import architecture, training
from train.networks.generators import Generator

Feed = dict[str, NDArray[Any]]
"""Inputs of a video graph by name."""
Outputs = list[NDArray[Any]]
"""Outputs of a video graph: y, u and v."""

_log = logging.getLogger("train.export")

MOST_LEVELS = 1
"""Runtimes sum in different orders, so values halfway between two levels may round either way."""
_HALF_PEAK = 65504.0
"""The largest number of half precision."""
_MOST_PLAIN_ERROR = 1e-3
"""Of values from 0 to 1: a quarter of an 8-bit level."""
STRIPS = ((64, 3840), (3840, 64))
"""Sizes (height, width) as long as 4K but as small as possible, where half-precision sums may overflow."""


@dataclass(frozen=True)
class Bundle:
    """Contents of a manifest that are not measured here.

    Attributes:
        name: name of the model; the half-precision bundle gets the suffix `-fp16`.
        licence: licence of the weights, an SPDX identifier.
        dropout: off, or paper: the graph has dropout tables as inputs (`rtdeblur.dropout`).
        half_only: skip the float32 graph, which is twice as large.
        architecture: description of the generator.
        training: data, recipe, commit, time and hardware.
        scores: measured values.
        gate: calibration of the blur gate.
    """

    name: str
    licence: str
    dropout: str = "off"
    half_only: bool = False
    architecture: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    gate_threshold: float | None = None


def write_bundles(
    generator: Generator, bundle: Bundle, folder: Path, pictures: Iterable[Picture]
) -> list[Path]:
    """Write the float32 bundle of a generator, unless disabled, and the half-precision one.

    Args:
        generator: generator with its weights.
        bundle: contents of the manifests.
        folder: output folder.
        pictures: real frames for comparing the graphs.

    Returns:
        the ONNX files.

    Raises:
        ParityError: a graph computes wrong results; nothing was written.
    """
    generator = copy.deepcopy(generator).cpu().float().eval()
    if bundle.dropout == "off":
        generator.sites = None  # the graph works without the tables
    frames = [to_feed(generator, picture) for picture in pictures]
    frames += strips(generator)
    return write_compared(generator, bundle, folder, frames, need_half=True)[0]


def write_compared(
    generator: Generator, bundle: Bundle, folder: Path, frames: Sequence[Feed], *, need_half: bool
) -> tuple[list[Path], ParityError | None]:
    """Write the bundles of a generator, each only if it passes its comparison.

    Args:
        generator: in evaluation mode, float32, on the CPU.
        bundle: contents of the manifests.
        folder: output folder.
        frames: inputs on which the graphs are compared.
        need_half: whether a half precision graph that fails is an error; otherwise it is skipped.

    Returns:
        The ONNX files, and why the half precision one was skipped, or None.

    Raises:
        ExportError: the network computes something that ONNX lacks.
        ParityError: a required graph computes wrong results; nothing was written.
    """
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        full, half = Path(temporary, f"{bundle.name}.onnx"), Path(temporary, f"{bundle.name}-fp16.onnx")
        _log.info("exporting the fp32 graph")
        export_onnx(generator, full)
        with _largest_value(generator) as largest:
            exact = compare_with_pytorch(generator, full, frames)
        refusal, files = None, [(full, "fp32"), (half, "fp16")]
        try:
            if largest[0] > _HALF_PEAK:
                raise ParityError(
                    f"the fp16 graph would overflow: values reach {largest[0]:.3g}, half precision ends at "
                    f"{_HALF_PEAK:.0f}; train with a smaller clip or weight decay"
                )
            _log.info("exporting the fp16 graph")
            export_onnx(copy.deepcopy(generator).half(), half)
            compare_with_full(half, frames, exact)
        except ParityError as error:
            if need_half:
                raise
            refusal, files = error, files[:1]
        return [
            _place(file, folder, bundle, generator, precision)
            for file, precision in files[bundle.half_only :]
        ], refusal


def export_checkpoint(
    checkpoint: Path,
    folder: Path,
    pictures: Path,
    config: Path | None,
    bundle: Bundle,
    earlier: Path | None = None,
) -> list[Path]:
    """Write the bundles of a checkpoint, which provides architecture and training.

    Args:
        checkpoint: checkpoint of `fit`.
        folder: output folder.
        pictures: a folder of real frames for comparing the graphs.
        config: configuration of the network, if not in the checkpoint.
        bundle: contents of the manifests.
        earlier: a manifest whose training, scores and gate are reused.
    """
    given = load_config(config) if config else None
    generator, state = load_generator(checkpoint, given)
    if bundle.dropout == "paper" and not generator.sites:
        raise ConfigError("dropout is 'paper' but this generator has no dropout of 0.5; expected 'off'")
    facts = training(checkpoint, state, given)
    whole = replace(bundle, architecture=architecture(generator), training=facts)
    if earlier:
        known = Manifest.read(earlier)
        whole = replace(
            whole, training=known.training, scores=known.scores, gate_threshold=known.gate_threshold
        )
    return write_bundles(generator, whole, folder, map(read_picture, list_pictures(pictures)[:4]))


def export_plain_checkpoint(checkpoint: Path, folder: Path, name: str, config: Path | None) -> Path:
    """Write the plain graph of a checkpoint, `<name>-plain.onnx`, without dropout; return its path.

    Raises:
        ParityError: it differs from PyTorch; nothing was written.
    """
    generator, _ = load_generator(checkpoint, load_config(config) if config else None)
    generator = generator.cpu().float().eval()
    generator.sites = None
    rng = np.random.default_rng(0)
    rgb = rng.random((2, 3, 5 * generator.stride + 1, 4 * generator.stride + 3), np.float32)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        part = Path(temporary, f"{name}-plain.onnx")
        _log.info("exporting the plain graph")
        export_plain(generator, part)
        with torch.inference_mode():
            wanted = PlainGraph(generator)(torch.from_numpy(rgb)).numpy()
        error = float(np.abs(_run(_session(part), {"rgb": rgb})[0] - wanted).max())
        if not error <= _MOST_PLAIN_ERROR:
            raise ParityError(f"the plain graph is {error:.2g} off PyTorch, expected {_MOST_PLAIN_ERROR}")
        return part.replace(folder / part.name)


def compare_with_pytorch(generator: Generator, full: Path, frames: Sequence[Feed]) -> list[Outputs]:
    """Compare the float32 graph with PyTorch; return its outputs.

    Raises:
        ParityError: they differ by more than `MOST_LEVELS`.
    """
    reference, session = VideoGraph(generator).eval(), _session(full)
    outputs = []
    for number, feed in enumerate(frames, 1):
        _log.info("comparing it with PyTorch: frame %d of %d", number, len(frames))
        with torch.inference_mode():
            wanted = [plane.numpy() for plane in reference(*(torch.from_numpy(a) for a in feed.values()))]
        got = _run(session, feed)
        levels = max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(got, wanted, strict=True))
        if levels > MOST_LEVELS:
            raise ParityError(
                f"the fp32 graph is {levels} levels off PyTorch at {feed['y'].shape[-2:]}, "
                f"expected at most {MOST_LEVELS}"
            )
        outputs.append(got)
    return outputs


def compare_with_full(half: Path, frames: Sequence[Feed], exact: Sequence[Outputs]) -> None:
    """Compare the half-precision graph with the outputs of the float32 one.

    Raises:
        ParityError: a plane is at less than `LEAST_PSNR`.
    """
    session = _session(half)
    for number, (feed, wanted) in enumerate(zip(frames, exact, strict=True), 1):
        _log.info("comparing it with the fp32 graph: frame %d of %d", number, len(frames))
        parity = worst_psnr(_run(session, feed), wanted, 255)
        if parity < LEAST_PSNR:
            raise ParityError(
                f"the fp16 graph has {parity:.1f} dB PSNR against fp32 at {feed['y'].shape[-2:]}, "
                f"expected {LEAST_PSNR} dB; "
                "its values may overflow 65504: train with a smaller clip or weight decay"
            )


@contextmanager
def _largest_value(generator: Generator) -> Iterator[list[float]]:
    """Yield a list whose only item grows to the largest absolute value between the generator's layers.

    ONNX Runtime does not show an overflow: on a CPU it computes neighbouring operations of half precision in
    float32, without rounding in between.
    """
    largest = [0.0]

    def see(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        tensors = (value for value in (*inputs, output) if isinstance(value, torch.Tensor))
        largest[0] = max([largest[0], *(float(tensor.abs().max()) for tensor in tensors)])

    exact = [module for module in generator.modules() if type(module).__name__ in generator.exact]
    within = {id(inner) for module in exact for inner in module.modules() if inner is not module}
    hooks = [
        module.register_forward_hook(see)
        for module in generator.modules()
        if id(module) not in within and (module in exact or not any(True for _ in module.children()))
    ]
    try:
        yield largest
    finally:
        for hook in hooks:
            hook.remove()


def strips(generator: Generator) -> list[Feed]:
    """Noise in frames as long as 4K's."""
    rng = np.random.default_rng(0)
    return [to_feed(generator, rng.integers(0, 256, (*size, 3), np.uint8)) for size in STRIPS]


def to_feed(generator: Generator | None, picture: Picture, colour: Colour | None = None) -> Feed:
    """Return the video graph's inputs for an (H, W, 3) uint8 RGB picture as 4:4:4; dropout seed 0.

    Args:
        generator: the graph's; None for one without dropout.
        picture: the picture.
        colour: meaning of the planes; by default that of HD video.
    """
    colour = colour or Colour()
    matrix = colour.rgb_to_yuv()
    yuv = picture / 255 @ matrix[:, :3].T + matrix[:, 3]
    planes = np.clip(np.rint(yuv), 0, 255).astype(np.uint8).transpose(2, 0, 1)
    peak = np.array([colour.peak], np.float32)
    values = [*(plane[None, None] for plane in planes), colour.yuv_to_rgb(), matrix, peak]
    feed: Feed = dict(zip(INPUTS, values, strict=True))
    if generator is not None and generator.sites:
        feed |= dict(zip(DROPOUT_INPUTS, generator.sites.draw(0, *picture.shape[:2]), strict=True))
    return feed


def _run(session: ort.InferenceSession, feed: Feed) -> Outputs:
    try:
        outputs: Outputs = session.run(None, feed)
    except RuntimeError as error:  # all errors of ONNX Runtime are some kind of it
        count, *_, height, width = next(iter(feed.values())).shape
        reason = " ".join(str(error).split())[:160]
        raise ParityError(f"the graph does not run on {count} frames of {width}×{height}: {reason}") from None
    return outputs


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    # The optimizer would remove the casts that make the CPU emulate half precision.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _place(file: Path, folder: Path, bundle: Bundle, generator: Generator, precision: str) -> Path:
    facts = asdict(bundle)
    del facts["half_only"]
    if bundle.gate_threshold is None:
        del facts["gate_threshold"]
    manifest = facts | {
        "format_version": FORMAT_VERSION,
        "name": file.stem,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "stride": generator.stride,
        "precision": precision,
    }
    if generator.sites:
        manifest["dropout_sites"] = {"count": generator.sites.count, "channels": generator.sites.channels}
    path = folder / file.name
    file.replace(path)
    path.with_suffix(".json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return path
