"""What to build for a class of GPUs: a TOML file of options, one a class, in `engines/`."""

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
from rtdeblur.model import Precision

_LANDSCAPE = {
    "480p": (480, 854),
    "720p": (720, 1280),
    "1080p": (1080, 1920),
    "1440p": (1440, 2560),
    "4k": (2160, 3840),
}
SIZES = _LANDSCAPE | {f"{name}-portrait": (width, height) for name, (height, width) in _LANDSCAPE.items()}
"""Named sizes, (height, width)."""

_MOST_BYTES = 1 << 20
_MOST_WORKSPACE_MIB = 1 << 20

_FOLDERS = (Path(__file__).parent / "classes", Path(__file__).parents[3] / "engines")
"""Of the wheel, and of a clone."""


def parse_size(text: str) -> tuple[int, int]:
    """Read a named size, or WIDTHxHEIGHT as FFmpeg writes it.

    Returns:
        (height, width).
    """
    if size := SIZES.get(text.lower()):
        return size
    if match := re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", text):
        return int(match[2]), int(match[1])
    raise EngineError(f"size is {text!r}; try WIDTHxHEIGHT, as 1280x720, or one of {', '.join(SIZES)}")


@dataclass(frozen=True)
class BuildProfile:
    """Options of a build, for one class of GPUs. The keys of the TOML file are these, all but `name`.

    Attributes:
        name: of the file.
        gpus: which GPUs they are, for people.
        flavour: auto, rtx or tensorrt.
        compute_capabilities: of the class. An RTX engine is built for these; empty is its portable set. The
            enterprise flavour builds for the GPU at hand, which must be one of them.
        precision: auto, fp16 or fp32.
        sizes: a static engine each.
        batches: frames at once, a static engine each; what running takes: 1 for live pictures, 4 for files.
        chroma: 420, 422, 444 or gray.
        optimization_level: 0 (quick build) to 5 (quick engine), None for TensorRT's default.
        workspace_mib: most scratch memory that one layer may take, None for TensorRT's default.
    """

    name: str
    gpus: str
    flavour: str = "auto"
    compute_capabilities: tuple[str, ...] = ()
    precision: Precision = "auto"
    sizes: tuple[str, ...] = ("720p",)
    batches: tuple[int, ...] = (1, 4)
    chroma: str = "420"
    optimization_level: int | None = None
    workspace_mib: int | None = None

    def __post_init__(self) -> None:
        self._one_of("flavour", self.flavour, ("auto", *FLAVOURS))
        self._one_of("precision", self.precision, get_args(Precision))
        self._one_of("chroma", self.chroma, tuple(CHROMA))
        for size in self.sizes:
            parse_size(size)
        for capability in self.compute_capabilities:
            if not re.fullmatch(r"\d{1,2}\.\d", capability):
                raise EngineError(f"compute capability is {capability!r}; expected as 8.6")
        if not self.sizes or not self.batches:
            raise EngineError(f"profile {self.name!r} names no sizes or no batches; expected one at least")

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
    """Names of the profiles that came along."""
    return sorted({path.stem for folder in _FOLDERS for path in folder.glob("*.toml")})


def load_profile(name: str) -> BuildProfile:
    """Read a profile that came along by its name, or any by its path.

    Raises:
        EngineError: there is none, or it says something that makes no sense; names file and key.
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
        raise EngineError(f"the build profile {path} is no TOML: {error}") from None
    try:
        return _profile(path.stem, data)
    except EngineError as error:
        raise EngineError(f"the build profile {path}: {error}") from None


_KINDS: dict[str, Any] = {
    "str": str,
    "Precision": str,
    "int | None": int,
    "tuple[str, ...]": [str],
    "tuple[int, ...]": [int],
}
"""What TOML must hold for a field of a type; a list holds values of its one member."""


def _profile(name: str, data: dict[str, Any]) -> BuildProfile:
    known = {field.name: field for field in fields(BuildProfile) if field.name != "name"}
    for key in data:
        if key not in known:
            raise EngineError(f"unknown key {key!r}; expected some of {', '.join(known)}")
    if "gpus" not in data:
        raise EngineError("lacks the key 'gpus', which says in words what it is for")
    return BuildProfile(name, **{key: _value(key, value, known[key].type) for key, value in data.items()})


def _value(key: str, value: Any, annotation: Any) -> Any:
    kind = _KINDS[annotation]
    if isinstance(kind, list):
        if isinstance(value, list) and all(type(item) is kind[0] for item in value):
            return tuple(value)
        raise EngineError(f"{key} is {value!r}; expected a list of {kind[0].__name__}")
    if type(value) is not kind:  # a bool is an int too
        raise EngineError(f"{key} is {value!r}; expected {kind.__name__}")
    return value
