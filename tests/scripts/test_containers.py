"""The containers, as far as they can be checked without an engine that builds them."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from rtdeblur.cli.root import root

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "containers"
DOCKERFILES = sorted(FOLDER.glob("*.Dockerfile"))
COMPOSE = sorted(FOLDER.glob("compose*.yaml"))
KNOWN = {
    "FROM",
    "RUN",
    "COPY",
    "ENV",
    "USER",
    "WORKDIR",
    "EXPOSE",
    "HEALTHCHECK",
    "ENTRYPOINT",
    "CMD",
    "LABEL",
}


def instructions(path: Path) -> list[tuple[str, str]]:
    """Instructions and their arguments, with continued lines joined and comments dropped."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines if line.strip()]


def stages(path: Path) -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for word, rest in instructions(path):
        if word == "FROM":
            found.append([])
        found[-1].append((word, rest))
    return found


def faults(path: Path) -> list[str]:
    """What is wrong with a Dockerfile."""
    found = [f"unknown instruction {word}" for word, _ in instructions(path) if word not in KNOWN]
    built = stages(path)
    last = dict(built[-1])
    if len(built) < 2:
        found.append("a single stage: build tools stay in the image")
    images = [dict(stage)["FROM"].split()[0] for stage in built]
    pinned = re.compile(r":\d+\.\d+\.\d+\S*$|@sha256:[0-9a-f]{64}$")
    found += [f"{image} is not pinned" for image in images if not pinned.search(image)]
    if last.get("USER", "root").partition(":")[0] in ("root", "0"):
        found.append("runs as root")
    if "CMD" not in last.get("HEALTHCHECK", ""):
        found.append("no health check")
    if "ENTRYPOINT" not in last or not isinstance(json.loads(last["ENTRYPOINT"]), list):
        found.append("no entry point in JSON form, which gets signals")
    for word, rest in (each for stage in built for each in stage):
        if word == "COPY" and not rest.startswith("--from"):
            found += [f"{name} does not exist" for name in rest.split()[:-1] if not (ROOT / name).exists()]
        if word == "RUN" and "pip install" in rest and not re.search("--require-hashes|--no-index", rest):
            found.append(f"unchecked download: {rest}")
        if word == "RUN" and re.search(r"curl|wget|apt-get(?!.*--no-install-recommends)", rest):
            found.append(f"unchecked download: {rest}")
    return found


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_are_pinned_and_do_not_run_as_root(path: Path) -> None:
    assert faults(path) == []


def test_there_is_an_image_for_the_cpu_and_one_for_gpus() -> None:
    assert [path.name for path in DOCKERFILES] == ["cpu.Dockerfile", "cuda.Dockerfile"]


def test_the_lint_finds_faults(tmp_path: Path) -> None:
    bad = tmp_path / "bad.Dockerfile"
    bad.write_text(
        'FROM python:latest\nADD x y\nRUN pip install rtdeblur\nCOPY missing /\nENTRYPOINT ["x"]\n'
    )
    assert len(faults(bad)) == 7


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_the_wheel_is_built_from_files_that_are_copied(path: Path) -> None:
    """Everything that pyproject.toml names is in the build stage, and not ignored."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    named = {*wheel["packages"], *wheel["force-include"], *wheel["shared-data"]}
    named |= {project["project"]["readme"], "LICENSE", "docs/models"}
    copied = [name for word, rest in stages(path)[0] if word == "COPY" for name in rest.split()[:-1]]
    missing = {name for name in named if not any(name == c or name.startswith(f"{c}/") for c in copied)}
    assert missing == set()
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"]
    assert [
        c
        for c in copied
        if not any(a == c or a.startswith(f"{c}/") or c.startswith(f"{a}/") for a in allowed)
    ] == []


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path in COMPOSE:
        for name, service in yaml.safe_load(path.read_text())["services"].items():
            found[f"{path.name}: {name}"] = service
    return found


def test_services_build_our_images_and_are_closed_to_other_machines() -> None:
    assert {name.rpartition(" ")[2] for name in services()} == {"live", "batch"}
    for service in services().values():
        assert (FOLDER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert not service.get("privileged")
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    for name in ("live", "batch"):
        service = services()[f"compose.yaml: {name}"]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])


@pytest.mark.parametrize("name", ["live", "batch"])
def test_the_commands_of_the_services_exist(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [
        re.sub(r"\$\{\w+:-(.*)\}", r"\1", word) for word in services()[f"compose.yaml: {name}"]["command"]
    ]
    command = root.get_command(click.Context(root), words[0])
    assert command is not None
    monkeypatch.setattr(command, "callback", lambda **_: None)
    command.main(words[1:], standalone_mode=False)  # raises a usage error


def test_a_release_builds_every_image() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    job = workflow["jobs"]["images"]
    assert [f"{image}.Dockerfile" for image in job["strategy"]["matrix"]["image"]] == [
        p.name for p in DOCKERFILES
    ]
    assert set(workflow["jobs"]["announce"]["needs"]) == {"publish", "images"}
