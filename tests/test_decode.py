from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from rtdeblur.decode import Count, DecodeError, Positive, Sha256, Timestamp, converted, from_json, from_toml


@dataclass(frozen=True)
class Record:
    count: Count
    name: str = "x"


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\0\0", b"nonsense", b"[]", b"1", b"null", b"{}", b'{"count": "1"}', b'{"count": true}',
        b'{"count": 1.5}', b'{"count": -1}', b'{"count": 1e400}', b'{"count": 99999999999999999999}',
        b'{"count": 1, "name": 5}', b'{"count": 1} trailing', b'{"count": 1, "name": "\xff"}',
        b'{"count": ' + b"9" * 10_000 + b"}", b"[" * 100_000, b'{"count":' * 100_000,
        b'{"more": ' + b"[" * 100_000,
    ],
)  # fmt: skip
def test_json_of_another_type_is_refused(text: bytes) -> None:
    with pytest.raises(DecodeError):
        from_json(Record, text)


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000, b"1e400", b"9" * 10_000])
def test_json_of_any_type_has_limits_too(text: bytes) -> None:
    with pytest.raises(DecodeError):
        from_json(object, text)


@pytest.mark.parametrize(
    "text",
    [b"count = ", b"count = '1'", b"count = true", b"count = -1", b"x = \xff", b"x = " + b"[" * 100_000],
)
def test_toml_of_another_type_is_refused(text: bytes) -> None:
    with pytest.raises(DecodeError):
        from_toml(Record, text)


def test_valid_text_is_decoded() -> None:
    assert from_json(Record, b'{"count": 7, "unknown": []}') == Record(7)
    assert from_toml(Record, b'count = 7\nname = "y"') == Record(7, "y")
    assert converted(Record, {"count": 7}) == Record(7)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Positive, 0),
        (Count, 2**31),
        (Timestamp, 2**63),
        (Timestamp, -(2**63)),
        (Sha256, "A" * 64),
        (Sha256, "a" * 65),
    ],
)
def test_values_beyond_the_limits_are_refused(kind: Any, value: object) -> None:
    with pytest.raises(DecodeError):
        converted(kind, value)
