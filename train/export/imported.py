"""Bundles of other people's networks: a public checkpoint, or a plain ONNX file, becomes a video graph."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtdeblur.model import files_of, new_name, user_folder
from train.errors import ConfigError
from train.export.bundle import Bundle, Feed, strips, to_feed, write_compared
from train.export.plain import OnnxGenerator
from train.measure.demo_scene import blurred_scene
from train.measure.metadata import architecture
from train.networks.generators import Generator
from train.networks.public import load_network, read_weights

UNSTATED = "unstated"
"""Licence in the manifest of a model whose user named none."""
_ODD = (157, 211)
"""(height, width) of the drawn frames on which graphs are compared: multiples of nothing."""
_BATCH = 3


@dataclass(frozen=True)
class Import:
    """Request to import a network.

    Attributes:
        source: a checkpoint (`train.networks.public.read_weights`), or an ONNX file of RGB pictures.
        name: name of the model; None for that of the file.
        licence: licence of the weights, as stated by the user.
        folder: folder to write to; None for the user's models.
        multiple: for an ONNX file: height and width must be multiples of this.
        signed: for an ONNX file: True if its values are in [-1, 1], False if in [0, 1].
        overwrite: replace a model of the same name.
    """

    source: Path
    name: str | None = None
    licence: str = UNSTATED
    folder: Path | None = None
    multiple: int = 16
    signed: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Imported:
    """Result of an import.

    Attributes:
        name: name of the model.
        paths: its ONNX files.
        without_half: why no half-precision graph was written; '' if it was.
    """

    name: str
    paths: list[Path]
    without_half: str


def import_network(wanted: Import) -> Imported:
    """Write the bundles of a public network.

    Raises:
        CheckpointError: the checkpoint is damaged, holds code, or is of another network.
        ConfigError: a model of that name exists.
        ExportError: the network does not export, or the ONNX file is of another kind.
        ModelError: the name is not valid for a model.
        ParityError: the graph does not compute what the network does.
    """
    stem = re.sub(r"[^\w.+-]+", "-", wanted.source.stem, flags=re.ASCII).strip("-.")
    name = new_name(stem if wanted.name is None else wanted.name)
    folder = wanted.folder or user_folder()
    taken = files_of(folder, name)
    if taken and not wanted.overwrite:
        raise ConfigError(f"{folder} has a model {name!r} already; choose another --name, or add -y")
    generator = _generator(wanted)
    facts = _facts(generator, wanted.source)
    bundle = Bundle(name, wanted.licence, architecture=facts)
    folder.mkdir(parents=True, exist_ok=True)
    paths, refusal = write_compared(generator, bundle, folder, _frames(generator), need_half=False)
    for path in taken:
        if path.stem not in {written.stem for written in paths}:
            path.unlink()  # a half-precision graph of earlier weights
    return Imported(name, paths, str(refusal).partition(";")[0] if refusal else "")


def _generator(wanted: Import) -> Generator:
    if wanted.source.suffix.lower() == ".onnx":
        return OnnxGenerator(wanted.source, multiple=wanted.multiple, signed=wanted.signed).eval()
    return load_network(read_weights(wanted.source), wanted.source).eval()


def _facts(generator: Generator, source: Path) -> dict[str, object]:
    """The network and its file, for the manifest."""
    if isinstance(generator, OnnxGenerator):
        facts: dict[str, object] = {"generator": generator.title, "parameters": generator.parameters_count}
    else:
        facts = architecture(generator)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    return facts | {"imported_from": source.name, "imported_sha256": digest}


def _frames(generator: Generator) -> list[Feed]:
    """Frames on which the graphs are compared: one, a batch, and strips as long as 4K's sides."""
    scene = blurred_scene()
    height, width = (max(side, generator.stride + 1) for side in _ODD)
    crops = [to_feed(generator, scene[i : i + height, i : i + width]) for i in range(_BATCH)]
    batch = {
        key: np.concatenate([crop[key] for crop in crops]) if value.ndim == 4 else value
        for key, value in crops[0].items()
    }
    return [crops[0], batch, *strips(generator)]
