"""The GPU script keeps the files it runs in a folder that only its owner can write to."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a shell script")
ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "on_gpu.sh"
IN_THE_IMAGE = {"click", "filelock", "numpy", "pillow", "rich"}
"""Requirements that an image with PyTorch and CUDA has."""


def take(tmp_path: Path, *step: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "part-00").write_bytes(b"part")
    own = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "RESULTS": str(tmp_path / "results")}
    words = ["bash", SCRIPT, *(step or ("take", str(tmp_path / "parts")))]
    return subprocess.run(words, env=own | environment, capture_output=True, text=True)


def test_the_folder_is_private_by_default(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    done = take(tmp_path)
    assert done.returncode == 0, done.stderr
    store = tmp_path / "home" / ".cache" / "rtdeblur-gpu"
    assert stat.S_IMODE(store.stat().st_mode) == 0o700
    assert (store / "parts" / "part-00").read_bytes() == b"part"


def link(path: Path) -> None:
    (path.parent / "elsewhere").mkdir()
    path.symlink_to(path.parent / "elsewhere")


def open_to_all(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


@pytest.mark.parametrize("plant", [link, open_to_all])
@pytest.mark.parametrize("step", [(), ("engine",)], ids=["take", "engine"])
def test_a_folder_that_others_prepared_is_not_used(
    tmp_path: Path, plant: Callable[[Path], None], step: tuple[str, ...]
) -> None:
    plant(tmp_path / "store")
    done = take(tmp_path, *step, STORE=str(tmp_path / "store"))
    assert done.returncode == 1
    assert "is a link, or writable by others" in done.stderr
    assert list((tmp_path / "store").iterdir()) == []


def test_the_wheels_hold_every_requirement_that_the_image_lacks() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = {re.split("[^a-z0-9-]", line)[0] for line in project["dependencies"]}
    packed = re.search(r"WHEELS=\((.*?)\)", SCRIPT.read_text(), re.DOTALL)
    assert packed
    assert required - IN_THE_IMAGE <= {word.split("==")[0] for word in packed[1].replace('"', "").split()}
