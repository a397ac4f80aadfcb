"""TensorRT engine directly from a checkpoint, without ONNX, through torch-tensorrt's dynamo front end."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rtdeblur.dropout import INPUTS as DROPOUT_INPUTS
from rtdeblur.errors import EngineError
from rtdeblur.frames import Colour
from train.errors import ConfigError
from train.export.graph import VideoGraph
from train.fit.checkpoint import load_generator
from train.fit.config import load_config
from train.networks.generators import Generator

_SHAPE = re.compile(r"(\d+)x(\d+)x(\d+)")


class NamedGraph(nn.Module):
    """Video graph with named inputs, which become the names of the engine's inputs."""

    def __init__(self, graph: VideoGraph) -> None:
        super().__init__()
        self.video = graph  # torch.fx reserves the name `graph`

    def forward(
        self,
        y: Tensor,
        u: Tensor,
        v: Tensor,
        yuv_to_rgb: Tensor,
        rgb_to_yuv: Tensor,
        peak: Tensor,
        **signs: Tensor,
    ) -> tuple[Tensor, ...]:
        """See `VideoGraph.forward`; `signs` are the dropout tables."""
        return self.video(y, u, v, yuv_to_rgb, rgb_to_yuv, peak, *signs.values())  # type: ignore[no-any-return]


def export_engine(
    checkpoint: Path, folder: Path, name: str, shape: str, *, dropout: str = "off", config: Path | None = None
) -> Path:
    """Compile the half-precision video graph of a checkpoint for one shape of 4:2:0 planes.

    Args:
        checkpoint: checkpoint of `fit`.
        folder: output folder.
        name: name of the model; the file is `<name>-fp16_<shape>.engine`.
        shape: batch, height and width, such as 1x720x1280.
        dropout: off, or paper: the engine has dropout tables as inputs.
        config: configuration of the network, if not in the checkpoint.

    Returns:
        the engine file. It works only with the GPU and the TensorRT version that it was compiled with.

    Raises:
        ConfigError: the shape or the dropout is invalid.
        EngineError: torch-tensorrt is missing, or refuses the graph.
    """
    match = _SHAPE.fullmatch(shape)
    if not match or not all(map(int, match.groups())):
        raise ConfigError(f"--engine is {shape!r}, expected batch, height and width, e.g. 1x720x1280")
    generator, _ = load_generator(checkpoint, load_config(config) if config else None)
    if dropout == "off":
        generator.sites = None
    elif not generator.sites:
        raise ConfigError("dropout is 'paper' but this generator has no dropout of 0.5; expected 'off'")
    compiler = _load()
    program, args, kwargs = _trace(generator, *map(int, match.groups()))
    try:
        engine = compiler.dynamo.convert_exported_program_to_serialized_trt_engine(
            program, arg_inputs=args, kwarg_inputs=kwargs, use_explicit_typing=True
        )
    except Exception as error:  # a converter may raise anything
        raise EngineError(
            f"torch-tensorrt cannot compile {name!r}: {_line(error)}; export without --engine"
        ) from error
    path = folder / f"{name}-fp16_{shape}.engine"
    part = path.with_suffix(".part")
    part.write_bytes(engine)
    part.replace(path)
    return path


def _trace(
    generator: Generator, batch: int, height: int, width: int
) -> tuple[Any, tuple[Tensor, ...], dict[str, Tensor]]:
    """Export the half-precision graph; return the program and the inputs it was traced with."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    graph = NamedGraph(VideoGraph(generator.half()).eval()).to(device)
    colour = Colour()
    y = torch.zeros(batch, 1, height, width, dtype=torch.uint8)
    u = torch.zeros(batch, 1, -(-height // 2), -(-width // 2), dtype=torch.uint8)
    matrices = (torch.from_numpy(colour.yuv_to_rgb()), torch.from_numpy(colour.rgb_to_yuv()))
    args = tuple(t.to(device) for t in (y, u, u.clone(), *matrices, torch.tensor([float(colour.peak)])))
    tables = generator.sites.off(height, width) if generator.sites else ()
    kwargs = {
        name: torch.from_numpy(table).to(device) for name, table in zip(DROPOUT_INPUTS, tables, strict=False)
    }
    with torch.inference_mode():
        return torch.export.export(graph, args, kwargs), args, kwargs


def _load() -> Any:
    try:
        import torch_tensorrt
    except Exception as error:  # a missing library raises OSError, an incompatible torch anything
        raise EngineError(
            f"--engine needs torch-tensorrt, which does not load here: {_line(error)}; try: pip install "
            "torch-tensorrt, of the release of your torch; or export without --engine, then `rtdeblur build`"
        ) from error
    return torch_tensorrt


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
