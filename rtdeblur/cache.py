"""What was measured on this machine, in the user's cache folder: small JSON objects, safe to lose."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from rtdeblur import files
from rtdeblur.decode import DecodeError, from_json

T = TypeVar("T")

FOLDER_VARIABLE = "RTDEBLUR_CACHE_DIR"
"""Environment variable that names another folder."""
_MOST_BYTES = 1 << 20
_MOST_ENTRIES = 1000


def folder() -> Path:
    """Return the user's cache folder, which may not exist; RTDEBLUR_CACHE_DIR overrides it."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("rtdeblur", appauthor=False)


def read(name: str, kind: type[T]) -> dict[str, T]:
    """Return the entries of a file; {} if it is missing, damaged, or could have been written by others.

    Args:
        name: name of the file.
        kind: type of the entries, a dataclass.
    """
    with suppress(OSError, DecodeError):
        entries: dict[str, T] = from_json(dict[str, kind], files.read_own(folder() / name, _MOST_BYTES))  # type: ignore[valid-type]
        return entries
    return {}


def add(name: str, key: str, entry: Any) -> None:
    """Add an entry to a file in place of the last one of its key; nothing happens if it cannot be written.

    Args:
        name: name of the file.
        key: key of the entry.
        entry: a dataclass of the same type as the file's other entries.
    """
    entries = read(name, type(entry)) | {key: entry}
    newest = dict(list(entries.items())[-_MOST_ENTRIES:])
    data = json.dumps({key: asdict(value) for key, value in newest.items()}).encode()
    with suppress(OSError):
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        files.write_whole(folder() / name, data)
