"""What names an engine: everything that, when it changes, asks for another one."""

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

PlaneType = Literal["uint8", "uint16", "nv12"]
_PLANE_TYPES: tuple[PlaneType, ...] = ("uint8", "uint16", "nv12")
CHROMA = {"420": (2, 2), "422": (1, 2), "444": (1, 1), "gray": None}
"""Luma samples a chroma sample, (rows, columns); gray has one neutral sample a plane."""
_MOST_SIDE = 16384


@dataclass(frozen=True, order=True)
class Shape:
    """One layout of planes: y (batch, 1, height, width), u and v (batch, 1, chroma_height, chroma_width)."""

    batch: int
    height: int
    width: int
    chroma_height: int
    chroma_width: int

    def __post_init__(self) -> None:
        sides = (self.height, self.width, self.chroma_height, self.chroma_width)
        if not 1 <= self.batch <= 64 or not all(1 <= side <= _MOST_SIDE for side in sides):
            raise EngineError(
                f"an engine for {self.batch} frames of {self.width}×{self.height} is out of range; "
                f"expected 1 to 64 frames and sides of 1 to {_MOST_SIDE}"
            )

    @classmethod
    def of(cls, batch: int, height: int, width: int, chroma: str = "420") -> Shape:
        """The layout of a chroma format: 420, 422, 444 or gray; odd sides round up."""
        if chroma not in CHROMA:
            raise EngineError(f"chroma is {chroma!r}; try one of {', '.join(CHROMA)}")
        step = CHROMA[chroma]
        if step is None:
            return cls(batch, height, width, 1, 1)
        return cls(batch, height, width, -(-height // step[0]), -(-width // step[1]))

    @property
    def chroma(self) -> str:
        """Name of the chroma format, or its size where it has no name."""
        for name in CHROMA:
            if Shape.of(self.batch, self.height, self.width, name) == self:
                return name
        return f"{self.chroma_height}x{self.chroma_width}"

    def __str__(self) -> str:
        return f"{self.batch}x{self.height}x{self.width}"


@dataclass(frozen=True)
class ShapeProfile:
    """The shapes that an engine takes; one shape three times makes a static engine.

    Attributes:
        min: no dimension may be less.
        opt: what the engine is tuned for.
        max: no dimension may be more; memory follows from it.
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
        """One shape alone."""
        return cls(shape, shape, shape)

    @classmethod
    def spanning(cls, shapes: list[Shape]) -> ShapeProfile:
        """All shapes between the smallest and the largest of each dimension, tuned for the first."""
        low, high = (
            Shape(*(pick(getattr(shape, field.name) for shape in shapes) for field in fields(Shape)))
            for pick in (min, max)
        )
        return cls(low, shapes[0], high)

    @property
    def is_static(self) -> bool:
        """Whether there is one shape alone."""
        return self.min == self.max

    def covers(self, other: ShapeProfile) -> bool:
        """Whether every shape of another profile is one of this."""
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
    """Where an engine is to run.

    Attributes:
        flavour: rtx or tensorrt (`rtdeblur.backends.tensorrt.flavours`).
        version: of that flavour.
        compute_capabilities: as ("8.6", "8.9"); empty: TensorRT-RTX's own portable set.
        gpu: the GPU's name, for the flavour whose engines run on one GPU alone; else empty.
        platform: system and processor, as linux-x86_64.
    """

    flavour: str
    version: str
    compute_capabilities: tuple[str, ...] = ()
    gpu: str = ""
    platform: str = f"{sys.platform}-{platform.machine().lower()}"

    @classmethod
    def of(cls, flavour: Flavour, gpu: str = "", compute_capability: str | None = None) -> Target:
        """Where engines of a flavour are built for, by default: the one rule for building and running.

        Args:
            flavour: must load, since its version is part of the target.
            gpu: name of the GPU at hand; empty where there is none.
            compute_capability: of that GPU, as "8.6".
        """
        capabilities = (compute_capability,) if compute_capability else ()
        if not flavour.portable:
            return cls(flavour.name, flavour.version, capabilities, gpu)
        # A GPU that this version does not know by name may still run what is built for the others.
        known = capabilities if compute_capability in flavour.targets else ()
        return cls(flavour.name, flavour.version, known)

    def serves(self, wanted: Target) -> bool:
        """Whether an engine for this target runs where `wanted` is, as a portable one on its GPUs."""
        if self.gpu or wanted.gpu:
            return self == wanted
        capabilities = self.compute_capabilities or PORTABLE
        return replace(self, compute_capabilities=wanted.compute_capabilities) == wanted and (
            self.compute_capabilities == wanted.compute_capabilities
            or (bool(wanted.compute_capabilities) and {*wanted.compute_capabilities} <= {*capabilities})
        )

    @property
    def device(self) -> str:
        """One word for file names."""
        capabilities = "+".join(c.replace(".", "") for c in self.compute_capabilities)
        return _word(self.gpu) or (f"sm{capabilities}" if capabilities else "portable")


@dataclass(frozen=True)
class EngineSpec:
    """Everything that an engine follows from.

    Attributes:
        model: its name.
        model_sha256: of the ONNX file, hexadecimal.
        precision: of the graph: fp16 or fp32.
        stride: of the model; the sizes of dropout's tables follow from it.
        profile: shapes.
        target: library, GPU and platform.
        planes: uint8 for 8 bits a sample; uint16 for 9 to 16. TensorRT has no such type: the engine then
            takes and gives uint8 planes with one more dimension of 2, the bytes as they lie (low, high).
            nv12 for 8-bit 4:2:0 as a GPU decodes it (interleaved UV; `rtdeblur.backends.tensorrt.layouts`).
        optimization_level: 0 (quick build) to 5; None is TensorRT's default.
        workspace_mib: scratch memory that a layer may take at most, in MiB; None is TensorRT's default.
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
        if self.planes not in _PLANE_TYPES:
            raise EngineError(f"plane type is {self.planes!r}; try one of {', '.join(_PLANE_TYPES)}")
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
        """Name the engine of a model; `options` are the fields behind `target`."""
        manifest = model.manifest
        return cls(
            manifest.name, manifest.sha256, manifest.precision, manifest.stride, profile, target, **options
        )

    def serves(self, wanted: EngineSpec) -> bool:
        """Whether an engine of this spec does what one of `wanted` would.

        Its shapes and GPUs may be more, and how it was built is its own where `wanted` asks for nothing.
        """
        free = ("optimization_level", "workspace_mib")
        unasked: dict[str, Any] = {name: None for name in free if getattr(wanted, name) is None}
        like = replace(self, profile=wanted.profile, target=wanted.target, **unasked)
        return like == wanted and self.profile.covers(wanted.profile) and self.target.serves(wanted.target)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> EngineSpec:
        """Read what `as_json` returned; DecodeError if it is something else."""
        return converted(cls, data)

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        return asdict(self)

    @property
    def key(self) -> str:
        """16 hexadecimal digits that no other spec has."""
        canonical = json.dumps(self.as_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def stem(self) -> str:
        """File name without its ending: what a person wants to know of an engine, then the key."""
        target = self.target
        model = self.model if self.precision in self.model else f"{self.model}-{self.precision}"
        depth = {"uint8": "", "uint16": "-u16", "nv12": "-nv12"}[self.planes]
        parts = (
            f"{_word(model)}-{self.model_sha256[:8]}",
            f"{self.profile}{depth}",
            f"{target.flavour}-{target.version}",
            target.device,
            self.key,
        )
        return "_".join(parts)


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", text).strip("-.")
