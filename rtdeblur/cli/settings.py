"""User configuration file: options for every run, in TOML.

    quality = "high"          # of `rtdeblur VIDEO`
    engine-dir = "/fast/disk"

    [live]                    # of `rtdeblur live`
    web = "8765"

Keys are long options without their dashes. The command line takes precedence.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from rtdeblur.cli.options import PARAMS
from rtdeblur.errors import UsageError

VARIABLE = "RTDEBLUR_CONFIG"
"""Environment variable with another path to the file; empty disables it."""

_MOST_BYTES = 1 << 20
_OF_ONE_RUN = {
    "input", "output", "overwrite", "resume", "start", "end", "duration", "frames", "json", "help",
    "help-all", "version", "dry-run",
}  # fmt: skip
"""Options that make sense only for a single run."""


def path() -> Path | None:
    """Return the path of the file, which may not exist; None if the environment disables it."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named) if named else None
    import platformdirs

    return platformdirs.user_config_path("rtdeblur", appauthor=False) / "config.toml"


def read(file: Path) -> dict[str, Any]:
    """Decode the file; {} if it is missing.

    Raises:
        UsageError: it cannot be read, or is not TOML.
    """
    from rtdeblur import files
    from rtdeblur.decode import DecodeError, from_toml

    try:
        return from_toml(dict[str, Any], files.read_own(Path(os.path.realpath(file)), _MOST_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, DecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"cannot read the configuration {str(file)!r}: {reason}; correct or remove it"
        ) from None


def defaults(file: Path, commands: Mapping[str, click.Command], names: tuple[str, ...]) -> dict[str, Any]:
    """Return defaults for click: parameter names to values, and a table per command.

    Args:
        file: the configuration.
        commands: those whose tables are checked, by name.
        names: names of all commands.

    Raises:
        UsageError: a key or a value is wrong, or the environment names a file that does not exist.
    """
    if os.environ.get(VARIABLE) and not file.exists():
        raise UsageError(f"the configuration {str(file)!r}, which {VARIABLE} names, does not exist")
    content = read(file)
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    where = f"the configuration {str(file)!r}"
    for name in tables:
        if name not in names:
            raise UsageError(f"{where} has an unknown table [{name}]{_hint(name, names)}")
    plain = {key: value for key, value in content.items() if key not in tables}
    found = {"deblur": _checked(plain, PARAMS, where)}
    for name, command in commands.items():
        found[name] = _checked(tables.get(name, {}), command.params, f"{where}, table [{name}],")
    return found


def keys(params: list[click.Parameter]) -> dict[str, click.Option]:
    """Return the options that the file may set, by key."""
    options = {
        name.removeprefix("--"): param
        for param in params
        if isinstance(param, click.Option)
        for name in param.opts
        if name.startswith("--")
    }
    return {key: option for key, option in options.items() if key not in _OF_ONE_RUN}


def _checked(table: Mapping[str, Any], params: list[click.Parameter], where: str) -> dict[str, Any]:
    known = keys(params)
    values = {}
    for key, value in table.items():
        option = known.get(key.replace("_", "-"))
        if key.replace("_", "-") in _OF_ONE_RUN:
            raise UsageError(f"{where} has {key!r}, which concerns a single run; give it on the command line")
        if option is None:
            raise UsageError(f"{where} has an unknown key {key!r}{_hint(key, tuple(known))}")
        values[option.name or key] = _value(option, key, value, where)
    return values


def _value(option: click.Option, key: str, value: Any, where: str) -> Any:
    if option.is_flag:
        if not isinstance(value, bool):
            raise UsageError(f"{where} has {key} = {value!r}, expected true or false")
        return value
    if option.multiple and isinstance(value, list):
        return [_value_of_one(option, key, one, where) for one in value]
    one = _value_of_one(option, key, value, where)
    return [one] if option.multiple else one


def _value_of_one(option: click.Option, key: str, value: Any, where: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{where} has {key} = {value!r}, expected text or a number")
    try:
        option.type.convert(str(value), option, None)
    except click.BadParameter as error:
        raise UsageError(f"{where} has {key} = {value!r}: {error.message}") from None
    return str(value)


def _hint(word: str, words: tuple[str, ...]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word.replace("_", "-"), words, 1)
    return f"; did you mean {near[0]}?" if near else f"; expected one of {', '.join(sorted(words))}"
