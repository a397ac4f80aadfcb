"""Small pictures: idx files, CIFAR-10's batches, squares cut from photographs."""

from __future__ import annotations

import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from train.data.cifar import is_cifar, read_cifar
from train.data.crops import small_squares
from train.data.idx import read_labelled
from train.data.pictures import write_picture
from train.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 3072)).astype(np.uint8)
LABELS = [3, 0, 9, 1, 1, 5]


def write_idx(
    folder: Path, pictures: NDArray[np.uint8], labels: NDArray[np.uint8], magic: int = 0x803
) -> None:
    header = struct.pack(">IIII", magic, *pictures.shape)
    (folder / "train-images-idx3-ubyte").write_bytes(header + pictures.tobytes())
    (folder / "train-labels-idx1-ubyte").write_bytes(
        struct.pack(">II", 0x801, len(labels)) + labels.tobytes()
    )


def test_idx_files_are_read(tmp_path: Path) -> None:
    pictures = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    write_idx(tmp_path, pictures, np.array([7, 2], np.uint8))
    read, labels = read_labelled(tmp_path)
    assert (read.numpy() == pictures[:, None]).all()
    assert labels.tolist() == [7, 2]


def test_damaged_or_missing_idx_files_are_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no train-images-idx3-ubyte"):
        read_labelled(tmp_path)
    pictures, labels = np.zeros((2, 3, 4), np.uint8), np.zeros(2, np.uint8)
    write_idx(tmp_path, pictures, labels, magic=0x804)
    with pytest.raises(DataError, match="magic number 0x0804"):
        read_labelled(tmp_path)
    write_idx(tmp_path, pictures, labels[:1])
    with pytest.raises(DataError, match="2 pictures but 1 labels"):
        read_labelled(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    write_idx(tmp_path, pictures, labels)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="23 values"):
        read_labelled(tmp_path)
    path.rename(path.with_suffix(".gz"))
    with pytest.raises(DataError, match=r"cannot read .* as an idx file"):
        read_labelled(tmp_path)


def python_batch(pixels: NDArray[np.uint8] = PIXELS) -> bytes:
    return pickle.dumps({b"data": pixels, b"labels": LABELS}, protocol=2)


def binary_batch() -> bytes:
    return b"".join(bytes([label]) + row.tobytes() for label, row in zip(LABELS, PIXELS, strict=True))


def check(path: Path, batches: int = 1) -> None:
    assert is_cifar(path)
    pictures, labels = read_cifar(path)
    assert labels.tolist() == LABELS * batches
    assert (pictures[:6].flatten(1).numpy() == PIXELS).all()
    assert pictures.shape[1:] == (3, 32, 32)


def test_python_and_binary_batches_are_read_from_folders(tmp_path: Path) -> None:
    python, binary = tmp_path / "py", tmp_path / "bin"
    for folder in (python, binary):
        folder.mkdir()
    for i in (1, 2):
        (python / f"data_batch_{i}").write_bytes(python_batch())
    (python / "batches.meta").write_bytes(b"ignored")
    (binary / "data_batch_1.bin").write_bytes(binary_batch())
    check(python, 2)
    check(binary)


@pytest.mark.parametrize(
    ("name", "content"), [("data_batch_1", python_batch()), ("data_batch_1.bin", binary_batch())]
)
def test_batches_are_read_from_the_archive(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    archive = tmp_path / "cifar-10.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / name, f"cifar-10-batches/{name}")
    check(archive)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run",)


@pytest.mark.parametrize(("content", "message"), [
    (pickle.dumps(Malicious(), protocol=2), "refers to __builtin__.print"),
    (pickle.dumps([1], protocol=2), "a batch is list"),
    (python_batch()[:100], "cannot read"),
    (python_batch(PIXELS[:5]), r"pictures of \(5, 3072\) uint8, 6 labels"),
    (pickle.dumps({b"data": PIXELS}, protocol=2), "labels"),
    (pickle.dumps({b"data": PIXELS, b"labels": [10] * 6}, protocol=2), "labels from 10 to 10"),
])  # fmt: skip
def test_damaged_batches_and_code_in_them_are_refused(
    tmp_path: Path, content: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data_batch_1").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_cifar(tmp_path)
    assert not capsys.readouterr().out


def test_squares_are_cut_from_pictures_and_small_pictures_taken_whole(tmp_path: Path) -> None:
    whole = np.random.default_rng(1).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    write_picture(tmp_path / "a.png", whole)
    write_picture(tmp_path / "b.png", np.full((70, 90, 3), 60, np.uint8))
    squares = small_squares(tmp_path, 32, count=8)
    assert squares.shape == (1 + 4, 3, 32, 32)
    assert (squares[0].permute(1, 2, 0).numpy() == whole).all()
    assert (squares[1:] == 60).all()


def test_pictures_smaller_than_a_square_are_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", np.zeros((31, 90, 3), np.uint8))
    with pytest.raises(DataError, match=r"31×90 .* expected at least 32×32"):
        small_squares(tmp_path, 32, count=1)
