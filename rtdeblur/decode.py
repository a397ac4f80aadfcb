"""The only decoder of JSON and TOML from files: it checks types and limits, and raises one kind of error."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

T = TypeVar("T")

Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
"""How many of something there are, or how many bytes."""
Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Side = Annotated[int, Meta(ge=1, le=16384)]
"""Of a picture, in pixels."""
Bytes = Annotated[int, Meta(ge=0, le=2**50)]
Timestamp = Annotated[int, Meta(ge=-(2**62), le=2**62)]
"""In units of a time base; sums of two still fit FFmpeg's 64 bits."""
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class DecodeError(ValueError):
    """Text that is malformed, nested too deeply, or holds values of other types or sizes than expected."""


def from_json(kind: type[T], data: bytes) -> T:
    """Decode JSON.

    Args:
        kind: the type expected, for example a dataclass; values are never coerced to it. `object` for any.
        data: the text, in UTF-8.

    Raises:
        DecodeError: it is something else.
    """
    try:
        decoded: T = msgspec.json.decode(data, type=kind)
    except (ValueError, RecursionError) as error:
        raise _decode_error(error) from None
    return decoded


def from_toml(kind: type[T], data: bytes) -> T:
    """Decode TOML; as `from_json`."""
    try:
        decoded: T = msgspec.toml.decode(data, type=kind)
    except (ValueError, RecursionError) as error:
        raise _decode_error(error) from None
    return decoded


def converted(kind: type[T], value: Any) -> T:
    """Check a decoded value against a type; as `from_json`."""
    try:
        result: T = msgspec.convert(value, kind)
    except (ValueError, RecursionError) as error:
        raise _decode_error(error) from None
    return result


def _decode_error(error: Exception) -> DecodeError:
    return DecodeError("it is nested too deeply" if isinstance(error, RecursionError) else str(error))
