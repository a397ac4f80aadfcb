"""Pinned requirements: every file has a hash, no index is named, and every dependency is covered."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"([a-z0-9-]+)==[^ ;]+( ; [^\\]+)?( +\\\n +--hash=sha256:[0-9a-f]{64})+")


def pins(path: Path) -> Iterator[str]:
    """Names of what a file pins; every line must belong to a pin with hashes."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE)
    left = PIN.sub("", text)
    assert not left.strip(), left[:300]
    yield from (match[1] for match in PIN.finditer(text))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_has_a_hash_and_no_index_is_named(path: Path) -> None:
    assert list(pins(path))
    assert "://" not in path.read_text()


def test_every_requirement_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    groups = project["dependency-groups"]
    wanted = [*project["project"]["dependencies"], *extras["train"], *extras["rtx"], *extras["networks"]]
    wanted += [word for group in ("dev", "docs") for word in groups[group] if isinstance(word, str)]
    names = {re.split(r"[<>=\[;~! ]", word)[0].lower().replace("_", "-") for word in wanted}
    assert {"av", "msgspec", "pytest", "lightning-fabric", "tensorrt-rtx-cu13"} <= names
    assert names - {name for path in FILES for name in pins(path)} == set()


def test_ci_installs_by_hash_alone() -> None:
    installs = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if "pip install" in line]
    unchecked = [line for line in installs if "--require-hashes" not in line]
    # pip itself, and this package.
    assert [re.search(r'"pip>=|-e \.$', line) is not None for line in unchecked] == [True] * len(unchecked)
