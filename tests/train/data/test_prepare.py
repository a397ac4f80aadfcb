from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from train.data.pictures import Picture, find_pairs, list_pictures, read_picture, write_picture
from train.data.prepare import prepare_gopro, prepare_photos, prepare_reds
from train.errors import DataError

MakePairs = Callable[..., Path]
SCRIPTS = Path(__file__).parents[3] / "scripts"


def gopro(make_pairs: MakePairs, folder: Path) -> Path:
    for part in ("train", "test"):
        shutil.copytree(make_pairs(2, f"made-{part}"), folder / "GOPRO_Large" / part / "GOPR0372_07_00")
    return folder


def test_gopro_is_checked_and_linked(make_pairs: MakePairs, tmp_path: Path) -> None:
    source = gopro(make_pairs, tmp_path / "download")
    lines = prepare_gopro(source, tmp_path / "data")
    assert [line.partition(": ")[2] for line in lines] == [
        "2 pairs of 1 scenes are intact; the whole set has 2103",
        "2 pairs of 1 scenes are intact; the whole set has 1111",
    ]
    assert len(find_pairs(tmp_path / "data" / "train")) == 2
    assert prepare_gopro(source, tmp_path / "data") == lines  # again does no harm


def test_gopro_s_zip_is_unpacked(make_pairs: MakePairs, tmp_path: Path) -> None:
    source = gopro(make_pairs, tmp_path / "download")
    archive = shutil.make_archive(str(tmp_path / "GOPRO_Large"), "zip", source)
    prepare_gopro(Path(archive), tmp_path / "data")
    assert len(find_pairs(tmp_path / "data" / "test")) == 2


def test_a_damaged_download_is_named(make_pairs: MakePairs, tmp_path: Path) -> None:
    source = gopro(make_pairs, tmp_path / "download")
    (source / "GOPRO_Large/train/GOPR0372_07_00/sharp/001.png").write_bytes(b"half")
    with pytest.raises(DataError, match=r"cannot read .*sharp/001\.png"):
        prepare_gopro(source, tmp_path / "data")
    (tmp_path / "cut.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"cannot unpack .*cut\.zip"):
        prepare_gopro(tmp_path / "cut.zip", tmp_path / "other")
    with pytest.raises(DataError, match="no folder train"):
        prepare_gopro(tmp_path / "made-train", tmp_path / "third")


def test_reds_gets_gopro_s_layout(make_pairs: MakePairs, tmp_path: Path) -> None:
    made = make_pairs(2, "made")
    for kind in ("blur", "sharp"):
        for scene in ("000", "001"):
            shutil.copytree(made / kind, tmp_path / "reds" / "train" / f"train_{kind}" / scene)
    (line,) = prepare_reds(tmp_path / "reds", tmp_path / "data")
    assert line.endswith("4 pairs of 2 scenes are intact; the whole set has 24000")
    assert find_pairs(tmp_path / "data" / "train")[3][0].parts[-3:] == ("001", "blur", "001.png")
    with pytest.raises(DataError, match="no train_sharp and train_blur"):
        prepare_reds(made, tmp_path / "other")


def test_unsuitable_photographs_are_skipped(tmp_path: Path, make_scene: Callable[..., Picture]) -> None:
    source = tmp_path / "photos" / "deep"
    source.mkdir(parents=True)
    sharp = make_scene(1, 100, 120)
    write_picture(source / "good.png", sharp)
    write_picture(source / "again.png", sharp)
    write_picture(source / "small.png", make_scene(2, 40, 200))
    write_picture(
        source / "soft.png", np.asarray(cv2.GaussianBlur(make_scene(3, 100, 120), (0, 0), 8), np.uint8)
    )
    write_picture(source / "large.jpg", make_scene(4, 420, 500))
    (source / "bad.jpg").write_bytes(b"")
    line = prepare_photos(tmp_path / "photos", tmp_path / "data", 64, 100.0)
    assert line.startswith(f"{tmp_path / 'data'}: 2 kept, ")
    for reason in ("1 twice", "1 smaller than 64", "1 not sharp", "1 unreadable"):
        assert reason in line
    sizes = sorted(read_picture(path).shape[:2] for path in list_pictures(tmp_path / "data"))
    assert sizes == [(100, 120), (210, 250)]


@pytest.mark.parametrize("name", ["gopro", "reds", "photos"])
def test_a_script_reports_errors_in_one_line(name: str, tmp_path: Path) -> None:
    command = [sys.executable, SCRIPTS / f"prepare_{name}.py", tmp_path, tmp_path / "data"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: no ")
    assert done.stderr.count("\n") == 1
