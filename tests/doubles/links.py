"""Links that another user could have put at a path that will be written."""

from __future__ import annotations

import os
from pathlib import Path


def symbolic(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def hard(path: Path, victim: Path) -> None:
    os.link(victim, path)
