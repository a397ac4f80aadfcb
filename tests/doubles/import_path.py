"""PYTHONPATH of a Python started by a test."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]


def import_path() -> str:
    """Return the repository and this process's own PYTHONPATH, which may provide the dependencies."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
