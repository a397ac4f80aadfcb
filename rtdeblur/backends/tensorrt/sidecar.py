"""What lies beside an engine: `NAME.json`, what it was built from and its checksum."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rtdeblur.backends.tensorrt.spec import EngineSpec
from rtdeblur.errors import EngineError

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Sidecar:
    """What was written of an engine.

    Attributes:
        spec: what it was built from.
        sha256: of the engine, hexadecimal.
        size: of the engine in bytes.
        build_seconds: that its build took.
    """

    spec: EngineSpec
    sha256: str
    size: int
    build_seconds: float

    def check(self, path: Path, data: bytes | None) -> None:
        """Hold an engine, by its bytes or else its size alone, against what was written of it."""
        size = path.stat().st_size if data is None else len(data)
        if self.spec.stem != path.stem:
            raise EngineError(f"the engine {path} is damaged: its sidecar is of another engine")
        if size != self.size:
            raise EngineError(f"the engine {path} is damaged: it has {size} bytes, expected {self.size}")
        if data is not None and hashlib.sha256(data).hexdigest() != self.sha256:
            raise EngineError(f"the engine {path} is damaged: its sha256 is not its sidecar's")


def read_sidecar(path: Path) -> Sidecar:
    """Read the sidecar of an engine that is there."""
    size = path.stat().st_size  # FileNotFoundError: there is no engine
    try:
        data: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        if data["format_version"] != FORMAT_VERSION:
            raise EngineError(f"the engine {path} has a sidecar of format {data['format_version']!r}")
        spec = EngineSpec.from_json(data["spec"])
        return Sidecar(spec, str(data["sha256"]), int(data["bytes"]), float(data["build_seconds"]))
    except FileNotFoundError:
        raise EngineError(f"the engine {path} of {size} bytes has no sidecar") from None
    except OSError as error:
        raise EngineError(f"the sidecar of {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"the engine {path} has an unreadable sidecar: {error}") from None


def sidecar_of(spec: EngineSpec, data: bytes, build_seconds: float) -> bytes:
    """The text of an engine's sidecar."""
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


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears under its name when it is whole."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(3)}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
