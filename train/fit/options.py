"""Conversion of TOML or JSON tables to frozen dataclasses, with one-line errors for keys and types."""

from __future__ import annotations

import contextlib
import difflib
import types
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from train.errors import ConfigError

T = TypeVar("T")


def from_table(cls: type[T], table: object, where: str) -> T:
    """Make a dataclass from a table; the table's `kind` selects among a union of dataclasses.

    Args:
        cls: a frozen dataclass; its fields are bool, int, float, str, Literal, tuples, dataclasses, unions.
        table: keys to values; arrays are lists.
        where: prefix of error messages.

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type or is invalid.
    """
    if not isinstance(table, dict):
        raise ConfigError(f"{where} is {table!r}, expected a table")
    assert is_dataclass(cls)
    hints = get_type_hints(cls)
    known = {f.name for f in fields(cls)}
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(sorted(known))}"
            raise ConfigError(f"{where} has an unknown key {key!r}; {hint}")
    for f in fields(cls):
        if f.default is MISSING and f.default_factory is MISSING and f.name not in table:
            raise ConfigError(f"{where} has no {f.name!r}")
    values = {key: _value(hints[key], value, f"{where} {key}") for key, value in table.items()}
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def to_table(options: Any) -> dict[str, Any]:
    """Return the table for `from_table`, without defaults."""
    table = {}
    for f in fields(options):
        value = getattr(options, f.name)
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        if f.name == "kind" or value != default:
            table[f.name] = to_table(value) if is_dataclass(value) else value
    return table


def _value(kind: Any, value: object, where: str) -> object:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _one_of(args, value, where)
    if is_dataclass(kind):
        return from_table(kind, value, where)  # type: ignore[arg-type]
    if origin is tuple and isinstance(value, (list, tuple)):
        each = args[:1] * len(value) if args[-1] is Ellipsis else args
        if len(each) != len(value):
            raise ConfigError(f"{where} has {len(value)} values, expected {len(each)}")
        return tuple(_value(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(each, value, strict=True)))
    if origin is Literal and value in args:
        return value
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(kind, type) and type(value) is kind:
        return value
    raise ConfigError(f"{where} is {value!r}, expected {_name(kind)}")


def _one_of(kinds: tuple[Any, ...], value: object, where: str) -> object:
    if value is None and type(None) in kinds:
        return None
    tables = [kind for kind in kinds if is_dataclass(kind)]
    if not tables:
        return _plain(kinds, value, where)
    if len(tables) == 1:
        return _value(tables[0], value, where)
    choices: dict[Any, Any] = {get_args(get_type_hints(kind)["kind"])[0]: kind for kind in tables}
    wanted = value.get("kind") if isinstance(value, dict) else None
    if wanted not in choices:
        raise ConfigError(f"{where} kind is {wanted!r}, expected one of {', '.join(choices)}")
    return _value(choices[wanted], value, where)


def _plain(kinds: tuple[Any, ...], value: object, where: str) -> object:
    """Parse a value of one of several plain types, such as a number or "auto"."""
    for kind in kinds:
        with contextlib.suppress(ConfigError):
            return _value(kind, value, where)
    raise ConfigError(f"{where} is {value!r}, expected {' or '.join(_name(kind) for kind in kinds)}")


def _name(kind: Any) -> str:
    if get_origin(kind) is Literal:
        if len(get_args(kind)) == 1:
            return repr(get_args(kind)[0])
        return "one of " + ", ".join(repr(arg) for arg in get_args(kind))
    if get_origin(kind) is tuple:
        return "an array"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}[kind]
