"""Build profiles: a TOML file of build options per class of GPUs, in `engines/`."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from rtdeblur import files
from rtdeblur.backends.tensorrt.flavours import FLAVOURS
from rtdeblur.backends.tensorrt.spec import CHROMA
from rtdeblur.decode import DecodeError, from_toml
from rtdeblur.errors import EngineError
from rtdeblur.model import EnginePrecision

_LANDSCAPE = {
    "480p": (480, 854),
    "720p": (720, 1280),
    "1080p": (1080, 1920),
    "1440p": (1440, 2560),
    "4k": (2160, 3840),
}
SIZES = _LANDSCAPE | {f"{name}-portrait": (width, height) for name, (height, width) in _LANDSCAPE.items()}
"""Named frame sizes, (height, width)."""

_MOST_BYTES = 1 << 20
_MOST_WORKSPACE_MIB = 1 << 20

_FOLDERS = (Path(__file__).parent / "classes", Path(__file__).parents[3] / "engines")
"""Folders of the profiles, in a wheel and in a clone."""


def parse_size(text: str) -> tuple[int, int]:
    """Parse a named size or WIDTHxHEIGHT.

    Returns:
        (height, width).
    """
    if size := SIZES.get(text.lower()):
        return size
    if match := re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", text):
        return int(match[2]), int(match[1])
    raise EngineError(f"size is {text!r}; try WIDTHxHEIGHT, e.g. 1280x720, or one of {', '.join(SIZES)}")


@dataclass(frozen=True)
class BuildProfile:
    """Build options for one class of GPUs: the keys of the TOML file, plus `name`.

    Attributes:
        name: name of the file.
        gpus: description of the GPUs, shown to users.
        flavour: auto, rtx or tensorrt.
        compute_capabilities: compute capabilities of the class. An RTX engine is built for these; empty is
            its portable set. The enterprise flavour builds for this machine's GPU, which must be one of them.
        precision: auto, fp16 or fp32.
        sizes: frame sizes, one static engine each.
        batches: batch sizes, one static engine each; the program uses 1 for live video, 4 for files.
        chroma: 420, 422, 444 or gray.
        optimization_level: 0 (fast build) to 5 (fast engine), None for TensorRT's default.
        workspace_mib: most scratch memory per layer, None for TensorRT's default.
    """

    name: str
    gpus: str
    flavour: str = "auto"
    compute_capabilities: tuple[str, ...] = ()
    precision: EnginePrecision = "auto"
    sizes: tuple[str, ...] = ("720p",)
    batches: tuple[int, ...] = (1, 4)
    chroma: str = "420"
    optimization_level: int | None = None
    workspace_mib: int | None = None

    def __post_init__(self) -> None:
        self._one_of("flavour", self.flavour, ("auto", *FLAVOURS))
        self._one_of("precision", self.precision, get_args(EnginePrecision))
        self._one_of("chroma", self.chroma, tuple(CHROMA))
        for size in self.sizes:
            parse_size(size)
        for capability in self.compute_capabilities:
            if not re.fullmatch(r"\d{1,2}\.\d", capability):
                raise EngineError(f"compute capability is {capability!r}; expected a version such as 8.6")
        if not self.sizes or not self.batches:
            raise EngineError(
                f"profile {self.name!r} lists no sizes or no batches; expected at least one of each"
            )

        for key, value, low, high in (
            *(("batches", batch, 1, 64) for batch in self.batches),
            ("optimization_level", self.optimization_level, 0, 5),
            ("workspace_mib", self.workspace_mib, 1, _MOST_WORKSPACE_MIB),
        ):
            if value is not None and not low <= value <= high:
                raise EngineError(f"{key} is {value}; expected {low} to {high}")

    def _one_of(self, key: str, value: str, known: tuple[str, ...]) -> None:
        if value not in known:
            raise EngineError(f"{key} is {value!r}; try one of {', '.join(known)}")


def known_profiles() -> list[str]:
    """Return the names of the bundled profiles."""
    return sorted({path.stem for folder in _FOLDERS for path in folder.glob("*.toml")})


def load_profile(name: str) -> BuildProfile:
    """Read a bundled profile by name, or any by path.

    Raises:
        EngineError: it does not exist, or a value is invalid; names file and key.
    """
    path = next((path for folder in _FOLDERS if (path := folder / f"{name}.toml").is_file()), Path(name))
    if path.suffix != ".toml":
        raise EngineError(
            f"no build profile is called {name!r}; try one of {', '.join(known_profiles())}, or a .toml file"
        )
    try:
        data = from_toml(dict[str, Any], files.read(path, _MOST_BYTES))
    except OSError as error:
        raise EngineError(f"cannot read the build profile {name!r}: {error.strerror}") from None
    except DecodeError as error:
        raise EngineError(f"the build profile {path} is not valid TOML: {error}") from None
    try:
        return _profile(path.stem, data)
    except EngineError as error:
        raise EngineError(f"the build profile {path}: {error}") from None


_KINDS: dict[str, Any] = {
    "str": str,
    "EnginePrecision": str,
    "int | None": int,
    "tuple[str, ...]": [str],
    "tuple[int, ...]": [int],
}
"""Types that TOML may have for a field type; a one-member list means a list of that type."""


def _profile(name: str, data: dict[str, Any]) -> BuildProfile:
    known = {field.name: field for field in fields(BuildProfile) if field.name != "name"}
    for key in data:
        if key not in known:
            raise EngineError(f"unknown key {key!r}; expected one of {', '.join(known)}")
    if "gpus" not in data:
        raise EngineError("missing key 'gpus', a description of the GPUs")
    return BuildProfile(name, **{key: _value(key, value, known[key].type) for key, value in data.items()})


def _value(key: str, value: Any, annotation: Any) -> Any:
    kind = _KINDS[annotation]
    if isinstance(kind, list):
        if isinstance(value, list) and all(type(item) is kind[0] for item in value):
            return tuple(value)
        raise EngineError(f"{key} is {value!r}; expected a list of {kind[0].__name__}")
    if type(value) is not kind:  # bool is a subclass of int
        raise EngineError(f"{key} is {value!r}; expected {kind.__name__}")
    return value
