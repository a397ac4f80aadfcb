"""Identity of an engine: every property whose change requires another engine."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from rtdeblur.backends.tensorrt.flavours import PORTABLE, Flavour
from rtdeblur.decode import converted
from rtdeblur.errors import EngineError
from rtdeblur.model import Model
from rtdeblur.plurals import counted

PlaneType = Literal["uint8", "uint16", "nv12"]
_PLANE_SUFFIXES: dict[PlaneType, str] = {"uint8": "", "uint16": "-u16", "nv12": "-nv12"}
CHROMA = {"420": (2, 2), "422": (1, 2), "444": (1, 1), "gray": None}
"""Luma samples per chroma sample, (rows, columns); gray has one neutral sample per plane."""
_MOST_SIDE = 16384


@dataclass(frozen=True, order=True)
class Shape:
    """Plane shapes: y (batch, 1, height, width), u and v (batch, 1, chroma_height, chroma_width)."""

    batch: int
    height: int
    width: int
    chroma_height: int
    chroma_width: int

    def __post_init__(self) -> None:
        sides = (self.height, self.width, self.chroma_height, self.chroma_width)
        if not 1 <= self.batch <= 64 or not all(1 <= side <= _MOST_SIDE for side in sides):
            raise EngineError(
                f"an engine for {counted(self.batch, 'frame')} of {self.width}×{self.height} is out of "
                f"range; expected 1 to 64 frames and sides of 1 to {_MOST_SIDE}"
            )

    @classmethod
    def of(cls, batch: int, height: int, width: int, chroma: str = "420") -> Shape:
        """Return the shapes for a chroma format: 420, 422, 444 or gray; odd sides round up."""
        if chroma not in CHROMA:
            raise EngineError(f"chroma is {chroma!r}; try one of {', '.join(CHROMA)}")
        step = CHROMA[chroma]
        if step is None:
            return cls(batch, height, width, 1, 1)
        return cls(batch, height, width, -(-height // step[0]), -(-width // step[1]))

    @property
    def chroma(self) -> str:
        """Name of the chroma format, or its size if it has no name."""
        for name in CHROMA:
            if Shape.of(self.batch, self.height, self.width, name) == self:
                return name
        return f"{self.chroma_height}x{self.chroma_width}"

    def __str__(self) -> str:
        return f"{self.batch}x{self.height}x{self.width}"


@dataclass(frozen=True)
class ShapeProfile:
    """Range of shapes of an engine; a single shape makes it static.

    Attributes:
        min: smallest shape.
        opt: shape that the engine is tuned for.
        max: largest shape, which determines the memory.
    """

    min: Shape
    opt: Shape
    max: Shape

    def __post_init__(self) -> None:
        for field in fields(Shape):
            low, best, high = (getattr(shape, field.name) for shape in (self.min, self.opt, self.max))
            if not low <= best <= high:
                raise EngineError(
                    f"a profile's {field.name} is {low}, {best}, {high}; expected min ≤ opt ≤ max"
                )

    @classmethod
    def static(cls, shape: Shape) -> ShapeProfile:
        """Make a static profile."""
        return cls(shape, shape, shape)

    @classmethod
    def spanning(cls, shapes: list[Shape]) -> ShapeProfile:
        """Make a profile that covers all shapes, tuned for the first."""
        low, high = (
            Shape(*(pick(getattr(shape, field.name) for shape in shapes) for field in fields(Shape)))
            for pick in (min, max)
        )
        return cls(low, shapes[0], high)

    @property
    def is_static(self) -> bool:
        """Whether it has only one shape."""
        return self.min == self.max

    def covers(self, other: ShapeProfile) -> bool:
        """Whether this profile covers another one."""
        return all(
            getattr(self.min, f.name) <= getattr(other.min, f.name)
            and getattr(other.max, f.name) <= getattr(self.max, f.name)
            for f in fields(Shape)
        )

    def __str__(self) -> str:
        if self.is_static:
            return f"{self.opt}-{self.opt.chroma}"
        return f"{self.min}..{self.max}-{self.opt.chroma}"


@dataclass(frozen=True)
class Target:
    """Target of an engine.

    Attributes:
        flavour: rtx or tensorrt (`rtdeblur.backends.tensorrt.flavours`).
        version: version of that flavour.
        compute_capabilities: such as ("8.6", "8.9"); empty: TensorRT-RTX's own portable set.
        gpu: name of the GPU, for the flavour whose engines run on only one model; else empty.
        platform: system and CPU architecture, such as linux-x86_64.
    """

    flavour: str
    version: str
    compute_capabilities: tuple[str, ...] = ()
    gpu: str = ""
    platform: str = f"{sys.platform}-{platform.machine().lower()}"

    @classmethod
    def of(cls, flavour: Flavour, gpu: str = "", compute_capability: str | None = None) -> Target:
        """Return the default target of a flavour, both for building and running.

        Args:
            flavour: must be loadable, since its version is part of the target.
            gpu: name of this machine's GPU; empty if there is none.
            compute_capability: compute capability of that GPU, such as "8.6".
        """
        capabilities = (compute_capability,) if compute_capability else ()
        if not flavour.portable:
            return cls(flavour.name, flavour.version, capabilities, gpu)
        # A GPU that this version does not list may still run the portable engine.
        known = capabilities if compute_capability in flavour.targets else ()
        return cls(flavour.name, flavour.version, known)

    def serves(self, wanted: Target) -> bool:
        """Whether an engine for this target also runs on the target `wanted`."""
        if self.gpu or wanted.gpu:
            return self == wanted
        capabilities = self.compute_capabilities or PORTABLE
        return replace(self, compute_capabilities=wanted.compute_capabilities) == wanted and (
            self.compute_capabilities == wanted.compute_capabilities
            or (bool(wanted.compute_capabilities) and {*wanted.compute_capabilities} <= {*capabilities})
        )

    @property
    def device(self) -> str:
        """One word for file names, such as sm86."""
        capabilities = "+".join(c.replace(".", "") for c in self.compute_capabilities)
        return _word(self.gpu) or (f"sm{capabilities}" if capabilities else "portable")


@dataclass(frozen=True)
class EngineSpec:
    """Everything that determines an engine.

    Attributes:
        model: name of the model.
        model_sha256: checksum of the ONNX file, hexadecimal.
        precision: precision of the graph: fp16 or fp32.
        stride: stride of the model, which determines the sizes of the dropout tables.
        profile: range of shapes.
        target: library, GPU and platform.
        planes: uint8 for 8 bits per sample; uint16 for 9 to 16, passed as uint8 planes with an extra
            dimension of 2 (low byte, high byte), because TensorRT has no such type; nv12 for 8-bit 4:2:0 as
            decoded by a GPU (interleaved UV; `rtdeblur.backends.tensorrt.layouts`).
        optimization_level: 0 (fast build) to 5; None is TensorRT's default.
        workspace_mib: most scratch memory per layer, in MiB; None is TensorRT's default.
    """

    model: str
    model_sha256: str
    precision: str
    stride: int
    profile: ShapeProfile
    target: Target
    planes: PlaneType = "uint8"
    optimization_level: int | None = None
    workspace_mib: int | None = None

    def __post_init__(self) -> None:
        if self.planes not in _PLANE_SUFFIXES:
            raise EngineError(f"plane type is {self.planes!r}; try one of {', '.join(_PLANE_SUFFIXES)}")
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise EngineError(f"optimization level is {self.optimization_level}; expected 0 to 5")
        if self.workspace_mib is not None and self.workspace_mib < 1:
            raise EngineError(f"workspace is {self.workspace_mib} MiB; expected 1 or more")
        if min(self.profile.min.height, self.profile.min.width) < self.stride:
            least = self.profile.min
            raise EngineError(
                f"a frame of {least.width}×{least.height} is too small for {self.model!r}, "
                f"which needs at least {self.stride}×{self.stride}; try --model identity"
            )

    @classmethod
    def of(cls, model: Model, profile: ShapeProfile, target: Target, **options: Any) -> EngineSpec:
        """Make the spec of a model's engine; `options` are the fields after `target`."""
        manifest = model.manifest
        return cls(
            manifest.name, manifest.sha256, manifest.precision, manifest.stride, profile, target, **options
        )

    def serves(self, wanted: EngineSpec) -> bool:
        """Whether an engine of this spec can replace one of `wanted`.

        It may cover more shapes and GPUs, and may have any build options that `wanted` leaves open.
        """
        free = ("optimization_level", "workspace_mib")
        unasked: dict[str, Any] = {name: None for name in free if getattr(wanted, name) is None}
        like = replace(self, profile=wanted.profile, target=wanted.target, **unasked)
        return like == wanted and self.profile.covers(wanted.profile) and self.target.serves(wanted.target)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> EngineSpec:
        """Parse the result of `as_json`; raise DecodeError if it is invalid."""
        return converted(cls, data)

    def as_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @property
    def key(self) -> str:
        """Key of the spec: 16 hexadecimal digits."""
        canonical = json.dumps(self.as_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def shapes(self) -> str:
        """Range of shapes and type of planes, for people: 1x720x1280-420-nv12."""
        return f"{self.profile}{_PLANE_SUFFIXES[self.planes]}"

    @property
    def stem(self) -> str:
        """File name without extension: the main properties for people, then the key."""
        target = self.target
        model = self.model if self.precision in self.model else f"{self.model}-{self.precision}"
        parts = (
            f"{_word(model)}-{self.model_sha256[:8]}",
            self.shapes,
            f"{target.flavour}-{target.version}",
            target.device,
            self.key,
        )
        return "_".join(parts)


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", text).strip("-.")
