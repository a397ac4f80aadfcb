"""Compiled graphs of OpenVINO's CPU device in the user's cache: compiling takes most of a short run's start.

A compiled graph is code: it is loaded only from a folder that belongs to the user and that nobody else can
write to (`rtdeblur.files`), and with the checksum at its beginning. Without such a folder, nothing is kept.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from typing import Any

import openvino as ov

from rtdeblur import cache, system
from rtdeblur.files import PrivateFolder

FOLDER = "compiled"
"""Folder in the cache."""
_MOST_FILES = 16
_MOST_BYTES = 1 << 30
_DIGEST_BYTES = 32
_END = ".blob"
_ORPHAN_SECONDS = 3600.0
"""Age at which a partial file cannot belong to a running process, in seconds."""


def get_or_compile(
    core: ov.Core, compile_graph: Callable[[], ov.CompiledModel], config: Mapping[Any, Any], *facts: object
) -> ov.CompiledModel:
    """Return a compiled graph from the cache, else compile and keep it.

    Args:
        core: the process's core.
        compile_graph: compiles it for the CPU.
        config: what it is compiled with.
        facts: everything else that it depends on, except the machine.
    """
    machine = (system.cpu_key(), system.usable_cores(), ov.__version__)
    settings = sorted((str(name), str(value)) for name, value in config.items())
    key = hashlib.sha256(repr((*machine, settings, *facts)).encode()).digest()
    name = f"{key.hex()[:32]}{_END}"
    try:
        folder = _open_folder()
    except OSError:  # read-only, or others could write to it
        return compile_graph()
    with closing(folder):
        with suppress(OSError, RuntimeError):  # missing, or of OpenVINO: damaged
            data = folder.read(name, _MOST_BYTES)
            digest, blob = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
            if digest == _digest(key, blob):
                folder.touch(name)
                return core.import_model(blob, "CPU", dict(config))
        compiled = compile_graph()
        with suppress(OSError, RuntimeError):
            blob = compiled.export_model().getvalue()
            part = f".{name}.{secrets.token_hex(3)}.part"
            folder.write(part, _digest(key, blob) + blob)
            folder.rename(part, name)
            _prune(folder)
        return compiled


def _open_folder() -> PrivateFolder:
    cache.folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    return PrivateFolder(cache.folder() / FOLDER)


def _digest(key: bytes, blob: bytes) -> bytes:
    return hashlib.sha256(key + blob).digest()


def _prune(folder: PrivateFolder) -> None:
    """Remove all but the files used last, and what killed processes left."""
    ages = {name: time.time() - folder.stat(name).st_mtime for name in folder.names()}
    blobs = sorted((name for name in ages if name.endswith(_END)), key=ages.__getitem__)
    parts = [name for name, age in ages.items() if name.endswith(".part") and age > _ORPHAN_SECONDS]
    for name in (*blobs[_MOST_FILES:], *parts):
        folder.remove(name)
