"""The documents: their links lead somewhere, the site has every page, and addresses and versions agree."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

import rtdeblur

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY: str = PROJECT["urls"]["Repository"]
LAYERS: list[set[str]] = runpy.run_path(str(ROOT / "tests/test_imports.py"))["LAYERS"]
RAW = REPOSITORY.replace("://github.com/", "://raw.githubusercontent.com/")
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
DOCUMENTS = [path for path in TRACKED if path.endswith(".md") and not path.startswith(".github/")]

_LINK = re.compile(r'\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)|(?:src|href)="([^"]+)"', re.MULTILINE)
_PATH = re.compile(r"`((?:rtdeblur|train|tests|scripts|docs|engines|examples)/[\w./-]*\w)`")


def links(document: str) -> list[str]:
    found = _LINK.finditer((ROOT / document).read_text(encoding="utf-8"))
    return [link[1] or link[2] or link[3] for link in found]


@pytest.mark.skipif(not DOCUMENTS, reason="not a git checkout")
def test_every_link_between_documents_leads_to_a_file() -> None:
    dead = []
    for document in DOCUMENTS:
        for link in links(document):
            path = (
                link.partition("#")[0].removeprefix(f"{REPOSITORY}/blob/main/").removeprefix(f"{RAW}/main/")
            )
            from_root = path != link.partition("#")[0]
            if path and "://" not in path and "{" not in path:
                target = (ROOT if from_root else (ROOT / document).parent) / path
                dead += [] if target.exists() else [f"{document}: {link}"]
    assert not dead


@pytest.mark.skipif(not DOCUMENTS, reason="not a git checkout")
def test_every_path_that_a_document_names_exists() -> None:
    missing = [
        f"{document}: {path}"
        for document in DOCUMENTS
        for path in _PATH.findall((ROOT / document).read_text(encoding="utf-8"))
        if not (ROOT / path).exists() and "NAME" not in path
    ]
    assert not missing


def test_the_package_page_can_show_every_picture_and_follow_every_link_of_the_readme() -> None:
    relative = [link for link in links("README.md") if not link.startswith(("https://", "#"))]
    assert not relative
    assert [link for link in links("README.md") if link.startswith(f"{RAW}/main/docs/")]


def test_the_repository_has_one_address() -> None:
    addresses = set()
    for path in [*TRACKED, "pyproject.toml", "README.md"]:
        if path.endswith((".md", ".yml", ".toml")):
            text = (ROOT / path).read_text(encoding="utf-8")
            addresses |= set(re.findall(r"https://github\.com/[\w-]+/rtdeblur\b", text))
    assert addresses == {REPOSITORY}


def release_notes(version: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/release_notes.py", version]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_changelog_has_a_section_for_the_version_of_the_project() -> None:
    notes = release_notes(PROJECT["version"])
    assert notes.returncode == 0, notes.stderr
    assert "### Added" in notes.stdout
    assert "## [" not in notes.stdout


def test_release_notes_of_another_version_are_refused() -> None:
    refused = release_notes("0.0.0")
    assert refused.returncode == 1
    assert refused.stderr.startswith("version 0.0.0 differs from pyproject.toml")
    assert not refused.stdout


def test_the_site_has_a_page_for_every_document() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2].partition("\n\n")[0]
    pages = set(re.findall(r"(\S+\.md)$", nav, re.MULTILINE))
    assert {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")} <= pages


def test_the_api_page_has_every_public_name() -> None:
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^::: rtdeblur\.(\w+)$", page, re.MULTILINE)) == {*rtdeblur.__all__} - {
        "__version__"
    }


def test_the_documented_layers_match_the_checked_ones() -> None:
    drawing = (
        (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("## Layers")[2].split("```")[1]
    )
    row = {part: i for i, line in enumerate(drawing.splitlines()) for part in line[:32].split()}
    layers = [layer - {"__main__", "engine"} for layer in LAYERS]  # engine: a former name, kept for programs
    drawn = [[row.get(part, -1) for part in layer] for layer in layers if layer]
    assert min(map(min, drawn)) >= 0
    assert all(max(upper) < min(lower) for upper, lower in pairwise(drawn))
    assert len(row) == sum(map(len, drawn))
