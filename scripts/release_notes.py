#!/usr/bin/env python3
"""Print the release notes of a version: its section of CHANGELOG.md.

    scripts/release_notes.py 0.2.0

Fails unless the version is that of pyproject.toml and has a dated section.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def release_notes(version: str) -> str:
    """Return the text below the version's heading, without the heading itself.

    Raises:
        ValueError: the version is not the project's, or its section is missing or empty.
    """
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    if version != declared:
        raise ValueError(f"version {version} differs from pyproject.toml ({declared}); tag the right commit")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n"
    section = re.search(heading + r"(.*?)(?=^## |^\[|\Z)", changelog, re.MULTILINE | re.DOTALL)
    if section is None or not section[1].strip():
        raise ValueError(
            f"CHANGELOG.md has no section '## [{version}] - YYYY-MM-DD'; rename the Unreleased section"
        )
    return section[1].strip()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: scripts/release_notes.py VERSION")
    try:
        print(release_notes(sys.argv[1]))
    except ValueError as error:
        sys.exit(str(error))
