"""Environment variables that libraries read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

FOR_LIBRARIES = {
    # If OpenBLAS lacks memory for its threads, it raises SIGINT as if the user had; we need no such threads.
    "OPENBLAS_NUM_THREADS": "1",
    # SVT-AV1 prints a banner on stderr; level 1 keeps only errors.
    "SVT_LOG": "1",
}
"""Variables of every process that restores."""


def unset(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that the user has not set."""
    return {name: value for name, value in variables.items() if name not in os.environ}


@contextmanager
def setting(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables within a block, and restore their earlier values after it."""
    earlier = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in earlier.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
