"""Model bundles: `<name>.onnx`, the video graph, and `<name>.json`, its manifest.

The bundle is the only contract between training and running. The graph maps planar code values to planar code
values of the same shapes; it contains everything in between.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from rtdeblur import files
from rtdeblur.decode import DecodeError, Name, Positive, Sha256, Share, Side, converted, from_json
from rtdeblur.errors import ModelError, UsageError

if TYPE_CHECKING:
    from rtdeblur.dropout import DropoutSites

FORMAT_VERSION = 1
DEFAULT_MODEL = "fast"
BEST_MODEL = "fine"
"""Bundled model that removes the most blur, for those who can wait."""
IDENTITY = "identity"
"""Built-in model without a graph that changes nothing, for tests, benchmarks and plain re-encoding."""

Precision = Literal["auto", "fp16", "bf16", "fp32", "int8"]
"""Precision of inference.

auto is fp16 on a GPU; on a CPU it is int8 if the bundle has such a graph and the CPU is clearly faster with
it, else bfloat16 if the CPU is fast in that, else fp32. A graph itself is fp16, fp32 or int8: integer
convolutions between QuantizeLinear and DequantizeLinear, the rest float32. bfloat16 runs the fp32 graph.
"""
Resolution = Literal["auto", "full", "half", "quarter"]
"""Resolution at which frames are restored (`rtdeblur.resolution`)."""
Temporal = Literal["auto", "on", "off"]
"""Whether restored frames are improved with their neighbours (`rtdeblur.temporal`)."""
EnginePrecision = Literal["auto", "fp16", "fp32"]
"""Precision of a TensorRT engine. It builds int8 graphs too, but none has run on a GPU yet."""

INPUTS = ("y", "u", "v", "yuv_to_rgb", "rgb_to_yuv", "peak")
"""uint8 y (N, 1, H, W), u and v (N, 1, Hc, Wc);
float32 matrices (3, 4), and peak (1,), the largest code value."""
OUTPUTS = ("y_out", "u_out", "v_out")
"""Same shapes and types as y, u, v."""

_MOST_MANIFEST_BYTES = 16 << 20
_MOST_MASKS = 1 << 16
"""Limit of sites times channels, which determine the size of the dropout tables (paper's generator: 2304)."""

_FOLDER = Path(__file__).parent / "models"
_SUFFIXES = {"fp32": "", "fp16": "-fp16", "int8": "-int8"}
"""Suffix of a bundle's name by precision."""
_NAME = re.compile(r"[\w][\w.+-]{0,79}", re.ASCII)

FOLDER_VARIABLE = "RTDEBLUR_MODEL_DIR"
"""Environment variable that names another folder for the user's own models."""


def check_choice(name: str, word: str, choices: Any) -> None:
    """Refuse a word that is not among the choices.

    Args:
        name: of the argument, for the message.
        word: what was given.
        choices: a type of words, such as `Resolution`.

    Raises:
        UsageError: there is no such choice.
    """
    if word not in get_args(choices):
        raise UsageError(f"{name} is {word!r}, expected {', '.join(get_args(choices))}")


@dataclass(frozen=True)
class Manifest:
    """Contents of `<name>.json`.

    Attributes:
        format_version: version of the bundle format; newer than FORMAT_VERSION is refused.
        name: name of the model.
        sha256: checksum of the ONNX file, hexadecimal.
        architecture: `generator` (its class), `parameters` (their number), and further properties.
        stride: pictures are padded to a multiple of this inside the graph; also the least side.
        precision: precision of the graph's weights and arithmetic: fp32, fp16 or int8.
        dropout: off, or paper (one mask from a seed for the whole stream).
        licence: licence of the weights, an SPDX identifier.
        training: data, recipe, commit, time and hardware.
        scores: measured values, by data set and metric; `pictures` has them per picture, and `unharmed` is
            for pictures that need no restoration.
        dropout_sites: `count` and `channels` of `rtdeblur.dropout.DropoutSites`, if the graph has dropout
            tables as inputs; else None.
        gate_threshold: need from which the blur gate restores a tile (`rtdeblur.backends.need`); None if the
            model has none, because it was not calibrated, or because a pixel depends on the whole frame.
    """

    format_version: Positive
    name: Name
    sha256: Sha256
    architecture: dict[str, Any]
    stride: Side
    precision: Literal["fp32", "fp16", "int8"]
    dropout: Literal["off", "paper"]
    licence: str
    training: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    dropout_sites: dict[str, int] | None = None
    gate_threshold: Share | None = None

    @property
    def sites(self) -> DropoutSites | None:
        """Dropout layers of the generator; None if the graph has no dropout tables."""
        from rtdeblur.dropout import DropoutSites

        return DropoutSites(**self.dropout_sites, stride=self.stride) if self.dropout_sites else None

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read and check a manifest; raise ModelError if it is invalid."""
        try:
            data: Any = from_json(object, files.read(path, _MOST_MANIFEST_BYTES))
        except FileNotFoundError:
            raise ModelError(
                f"no manifest {path}; a model is two files, .onnx and .json, keep them together"
            ) from None
        except (OSError, DecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ModelError(f"cannot read the manifest {path}: {reason}; download the model again") from None
        version = data.get("format_version") if isinstance(data, dict) else None
        if type(version) is not int:
            raise ModelError(
                f"{path} is not a model manifest: it has no format_version; download the model again"
            )
        if version > FORMAT_VERSION:
            raise ModelError(
                f"model {path} has format {version}, this rtdeblur reads up to {FORMAT_VERSION}; "
                "try: pip install --upgrade rtdeblur"
            )
        optional = ("training", "scores", "dropout_sites", "gate_threshold")
        missing = [f.name for f in fields(cls) if f.name not in data and f.name not in optional]
        if missing:
            raise ModelError(f"the manifest {path} is missing {', '.join(missing)}; download the model again")
        sites = data.get("dropout_sites")
        if sites is not None and not _are_sites(sites):
            raise ModelError(
                f"the manifest {path} has dropout_sites {sites!r:.99}, expected count and channels "
                f"of 1 or more, their product at most {_MOST_MASKS}; download the model again"
            )
        try:
            return converted(cls, data)
        except DecodeError as error:
            raise ModelError(f"the manifest {path} is invalid: {error}; download the model again") from None


@dataclass(frozen=True)
class Model:
    """A loaded bundle with a verified checksum.

    Attributes:
        manifest: its manifest.
        onnx: bytes of the video graph; empty for IDENTITY.
        path: path of the ONNX file.
    """

    manifest: Manifest
    onnx: bytes = field(repr=False)
    path: Path

    @classmethod
    def load(cls, name: str) -> Model:
        """Load a model by name or path.

        Args:
            name: IDENTITY, a bundled model, one of the user's own, or the path of a `.onnx` or `.json`.

        Raises:
            ModelError: it is unknown, incomplete, damaged or of a newer format.
        """
        if name == IDENTITY:
            nothing = hashlib.sha256(b"").hexdigest()
            return cls(Manifest(FORMAT_VERSION, IDENTITY, nothing, {}, 1, "fp32", "off", "MIT"), b"", Path())
        path = _locate(name)
        manifest = Manifest.read(path.with_suffix(".json"))
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ModelError(
                f"cannot read the model {path}: {error.strerror}; download the model again"
            ) from None
        if not data:
            raise ModelError(f"model {path} is empty (0 bytes); download the model again")
        digest = hashlib.sha256(data).hexdigest()
        if digest != manifest.sha256:
            raise ModelError(
                f"model {path} is damaged: its sha256 is {digest[:12]}…, "
                f"the manifest says {manifest.sha256[:12]}…; download the model again"
            )
        return cls(manifest, data, path)

    @property
    def name(self) -> str:
        """Name under which --model finds it, in all precisions."""
        return base_name(self.manifest.name)

    @property
    def has_graph(self) -> bool:
        """Whether there is a graph to run; False for IDENTITY."""
        return bool(self.onnx)

    @property
    def quantised(self) -> Manifest | None:
        """Manifest of the int8 graph of this float graph; None if the bundle lacks one.

        Raises:
            ModelError: it is invalid.
        """
        path = self._path_of("int8")
        if self.manifest.precision == "int8" or not (self.has_graph and path.is_file()):
            return None
        manifest = Manifest.read(path.with_suffix(".json"))
        return manifest if self.manifest.sha256 in manifest.architecture.get("quantised_from", ()) else None

    def variant(self, precision: Precision) -> Model:
        """Return the same weights in another precision.

        `<name>.onnx` is float32, and next to it `<name>-fp16.onnx` is half precision and `<name>-int8.onnx`
        quantised. An export writes the first two, or only the second; `python -m train quantize` the third.

        Args:
            precision: fp32, fp16 or int8; auto is fp16 if available, else this graph's precision; bf16 is the
                fp32 graph, whose arithmetic a backend does in bfloat16.

        Raises:
            ModelError: that file is missing or damaged, or the model has no graph.
        """
        if not self.has_graph:
            raise ModelError(f"model {self.name!r} has no graph to run; try another model")
        wanted = {"auto": "fp16", "bf16": "fp32"}.get(precision, precision)
        if self.manifest.precision == wanted:
            return self
        path = self._path_of(wanted)
        if precision == "auto" and not path.is_file():
            return self
        if not path.is_file():
            raise ModelError(
                f"model {self.name!r} has no {wanted} variant ({path} is missing); "
                "try without --precision, or make it: python -m train "
                + ("quantize" if wanted == "int8" else "export")
            )
        other = Model.load(str(path))
        if other.manifest.precision != wanted:
            raise ModelError(
                f"{path} is {other.manifest.precision}, expected {wanted}; export the model again"
            )
        if wanted == "int8" and self.quantised is None:
            raise ModelError(f"{path} was made from other weights; make it again: python -m train quantize")
        return other

    def _path_of(self, precision: str) -> Path:
        return self.path.with_name(f"{base_name(self.path.stem)}{_SUFFIXES[precision]}.onnx")


def base_name(name: str) -> str:
    """Return a bundle's name without the suffix of its precision."""
    return next((name.removesuffix(end) for end in _SUFFIXES.values() if end and name.endswith(end)), name)


def bundled_models() -> list[str]:
    """Return the names of the bundled models, default and best first, without fp16 and int8 variants."""
    return sorted(_names_in(_FOLDER), key=lambda name: (name != DEFAULT_MODEL, name != BEST_MODEL, name))


def user_folder() -> Path:
    """Return the folder of the user's own models, which may not exist; RTDEBLUR_MODEL_DIR overrides it."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named).expanduser()
    from platformdirs import user_data_path

    return user_data_path("rtdeblur", appauthor=False) / "models"


def user_models() -> list[str]:
    """Return the names of the user's own models, sorted, without their fp16 and int8 variants."""
    return sorted(_names_in(user_folder()) - {*bundled_models(), IDENTITY})


def new_name(name: str) -> str:
    """Check the name of a new model for `user_folder`.

    Raises:
        ModelError: it is not a valid file name, or the name of a bundled model.
    """
    if not _NAME.fullmatch(name) or base_name(name) != name or name.endswith((".onnx", ".json")):
        raise ModelError(
            f"{name!r} cannot name a model; expected letters, digits, '.', '_', '+' and '-', "
            "at most 80, and no -fp16 or -int8 at the end"
        )
    if name in (*bundled_models(), IDENTITY):
        raise ModelError(f"the name {name!r} is taken by a bundled model; choose another")
    return name


def files_of(folder: Path, name: str) -> list[Path]:
    """Return the existing files of a model in a folder, in all precisions."""
    stems = [f"{name}{end}" for end in _SUFFIXES.values()]
    paths = [folder / f"{stem}{suffix}" for stem in stems for suffix in (".onnx", ".json")]
    return [path for path in paths if path.is_file()]


def _names_in(folder: Path) -> set[str]:
    return {base_name(path.stem) for path in folder.glob("*.json")}


def _are_sites(sites: object) -> bool:
    return (
        isinstance(sites, dict)
        and sites.keys() == {"count", "channels"}
        and all(type(n) is int and n > 0 for n in sites.values())
        and sites["count"] * sites["channels"] <= _MOST_MASKS
    )


def _locate(name: str) -> Path:
    base = base_name(name)
    is_bundled = base in bundled_models()
    if is_bundled or base in user_models():
        folder = _FOLDER if is_bundled else user_folder()
        full = folder / f"{name}.onnx"
        return full if full.is_file() else folder / f"{base}{_SUFFIXES['fp16']}.onnx"
    path = Path(name)
    if path.is_file() and path.suffix not in (".onnx", ".json"):
        raise ModelError(
            f"{name!r} is not a model, expected a .onnx file; "
            "`python -m train export` or `python -m train import` makes one of a checkpoint"
        )
    if path.suffix not in (".onnx", ".json"):
        known = ", ".join([*bundled_models(), *user_models(), IDENTITY])
        raise ModelError(f"no model is called {name!r}; try one of {known}, or the path of a .onnx file")
    if not path.with_suffix(".onnx").is_file():
        raise ModelError(
            f"no model file {path.with_suffix('.onnx')}; expected .onnx and .json next to each other"
        )
    return path.with_suffix(".onnx")
