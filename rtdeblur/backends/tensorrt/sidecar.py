"""Sidecar of an engine, `NAME.json`: what it was built from, and its checksum."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rtdeblur import files
from rtdeblur.backends.tensorrt.spec import EngineSpec
from rtdeblur.decode import Bytes, DecodeError, Positive, Seconds, Sha256, from_json
from rtdeblur.errors import EngineError

FORMAT_VERSION = 1
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Sidecar:
    """Contents of a sidecar.

    Attributes:
        spec: what it was built from.
        sha256: checksum of the engine, hexadecimal.
        size: size of the engine in bytes.
        build_seconds: build time in seconds.
    """

    spec: EngineSpec
    sha256: str
    size: int
    build_seconds: float

    def check(self, path: Path, data: bytes | None) -> None:
        """Compare an engine with its sidecar, by its bytes or else only its size."""
        size = path.stat().st_size if data is None else len(data)
        if self.spec.stem != path.stem:
            raise EngineError(f"the engine {path} is damaged: its sidecar belongs to another engine")
        if size != self.size:
            raise EngineError(f"the engine {path} is damaged: it has {size} bytes, expected {self.size}")
        if data is not None and hashlib.sha256(data).hexdigest() != self.sha256:
            raise EngineError(f"the engine {path} is damaged: its sha256 differs from its sidecar")


@dataclass(frozen=True)
class _Version:
    format_version: Positive


@dataclass(frozen=True)
class _Content:
    """The file, as far as it is read."""

    sha256: Sha256
    bytes: Bytes
    build_seconds: Seconds
    spec: EngineSpec


def read_sidecar(path: Path) -> Sidecar:
    """Read the sidecar of an engine.

    Raises:
        FileNotFoundError: there is no engine.
        EngineError: engine or sidecar do not belong to the user, or the sidecar is unreadable.
    """
    try:
        size = files.check_file(path).st_size
    except FileNotFoundError:
        raise
    except OSError as error:
        raise EngineError(f"the engine {path} is not used: {error.strerror}") from None
    try:
        data = files.read_own(path.with_suffix(".json"), _MOST_BYTES)
        version = from_json(_Version, data).format_version
        if version != FORMAT_VERSION:
            raise DecodeError(f"sidecar format {version}, expected {FORMAT_VERSION}")
        content = from_json(_Content, data)
    except FileNotFoundError:
        raise EngineError(f"the engine {path} ({size} bytes) has no sidecar") from None
    except OSError as error:
        raise EngineError(f"the sidecar of {path} cannot be read: {error.strerror}") from None
    except (DecodeError, EngineError) as error:  # EngineError: impossible sizes
        raise EngineError(f"the engine {path} has an unreadable sidecar: {error}") from None
    return Sidecar(content.spec, content.sha256, content.bytes, content.build_seconds)


def sidecar_of(spec: EngineSpec, data: bytes, build_seconds: float) -> bytes:
    """Return the text of an engine's sidecar."""
    content = {
        "format_version": FORMAT_VERSION,
        "key": spec.key,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "build_seconds": round(build_seconds, 3),
        "built_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "spec": spec.as_json(),
    }
    return json.dumps(content, indent=2).encode() + b"\n"
