"""Decoding of JSON and TOML with type and limit checks, and one kind of error."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

T = TypeVar("T")

Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
"""A count, or a size in bytes."""
Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Side = Annotated[int, Meta(ge=1, le=16384)]
"""Side of a picture, in pixels."""
Bytes = Annotated[int, Meta(ge=0, le=2**50)]
Timestamp = Annotated[int, Meta(ge=-(2**62), le=2**62)]
"""Timestamp in units of a time base; the sum of two still fits FFmpeg's 64 bits."""
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Share = Annotated[float, Meta(ge=0, le=1)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class DecodeError(ValueError):
    """The text is malformed, nested too deeply, or has values of unexpected types or sizes."""


def from_json(kind: type[T], data: bytes) -> T:
    """Decode JSON.

    Args:
        kind: expected type, for example a dataclass; values are never coerced. `object` accepts any.
        data: the text, in UTF-8.

    Raises:
        DecodeError: the data is malformed or has another type.
    """
    try:
        decoded: T = msgspec.json.decode(data, type=kind)
    except (ValueError, RecursionError) as error:
        raise _decode_error(error) from None
    return decoded


def from_toml(kind: type[T], data: bytes) -> T:
    """Decode TOML; see `from_json`."""
    try:
        decoded: T = msgspec.toml.decode(data, type=kind)
    except (ValueError, RecursionError) as error:
        raise _decode_error(error) from None
    return decoded


def converted(kind: type[T], value: Any) -> T:
    """Check a decoded value against a type; see `from_json`."""
    try:
        result: T = msgspec.convert(value, kind)
    except (ValueError, RecursionError) as error:
        raise _decode_error(error) from None
    return result


def _decode_error(error: Exception) -> DecodeError:
    return DecodeError("it is nested too deeply" if isinstance(error, RecursionError) else str(error))
