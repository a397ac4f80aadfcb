from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from import_path import ROOT, import_path
from safetensors.torch import load_file

from train.data.pairs import DataOptions
from train.data.pictures import find_pairs, list_pictures, read_picture, write_picture
from train.errors import ConfigError
from train.export.pack import pack, pack_data, size_of
from train.fit.checkpoint import load_checkpoint, load_generator
from train.fit.config import Config
from train.fit.journal import read_rows
from train.fit.run import fit
from train.measure.evaluate import psnr

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"

BLOCKED = (
    "aiohttp", "av", "google", "imageio", "lazy_loader", "markdown_it", "mdurl", "onnx", "onnx_ir",
    "onnxruntime", "onnxscript", "openvino", "platformdirs", "pygments", "scipy", "skimage", "tensorboard",
    "tensorrt_rtx", "tifffile", "yaml",
)  # fmt: skip
PACKED = ("PIL", "click", "lightning_fabric", "lightning_utilities", "packaging", "rich", "typing_extensions")
BLOCK = f"""
import sys
from importlib.machinery import PathFinder

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name in {BLOCKED!r}:
            return None
        if name in {PACKED!r}:
            return PathFinder.find_spec(name, [PACKAGES])
        return self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Without, sys.meta_path)
"""


@pytest.fixture
def folders(make_pairs: Callable[..., Path], tmp_path: Path) -> DataOptions:
    from tests.train.conftest import scene

    (tmp_path / "photos").mkdir()
    for i in range(10):
        write_picture(tmp_path / "photos" / f"{i}.png", scene(i, 300, 400))
    return DataOptions(
        pairs=(str(make_pairs(6)),), sharp=(str(tmp_path / "photos"),), exclude=("000*", "9.png")
    )


def test_pictures_shrink_until_they_fit(folders: DataOptions, tmp_path: Path) -> None:
    sizes = []
    for room in (2_000_000, 150_000, 60_000):
        folder = tmp_path / str(room) / "data"
        options, lines = pack_data(folders, folder, room)
        sizes.append(size_of(folder))
        assert sizes[-1] <= room
        assert options.pairs == ("data/pairs",)
        assert options.sharp == ("data/sharp",)
        assert options.video == 0
        assert len(lines) == 2
    assert sizes == sorted(sizes, reverse=True)
    # With room enough, all are there, whole, but for those that are excluded.
    best = tmp_path / "2000000" / "data"
    assert len(find_pairs(best / "pairs")) == 5
    assert len(list_pictures(best / "sharp")) == 9
    blurred, sharp = find_pairs(best / "pairs")[0]
    # The pictures' coloured noise does not survive WebP, whose chroma has half the size.
    for packed, kind in ((blurred, "blur"), (sharp, "sharp")):
        assert psnr(read_picture(packed), read_picture(tmp_path / "pairs" / kind / "001.png")) > 23
        assert psnr(read_picture(packed), read_picture(tmp_path / "pairs" / kind / "002.png")) < 15
    with pytest.raises(ConfigError, match=r"do not fit into 0\.0 MiB; allow more with PACK_MIB"):
        pack_data(folders, tmp_path / "none", 3000)


def test_an_unrelated_folder_is_left_alone(tiny: Callable[..., Config], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="contains something else"):
        pack(tiny(), tmp_path / "no.onnx", tmp_path, 20, HERE)
    assert (tmp_path / "pairs").is_dir()


@pytest.mark.timeout(1500)
def test_the_command_for_a_gpu_machine_runs_from_its_folder(
    tiny: Callable[..., Config], tmp_path: Path
) -> None:
    """The very command, on a CPU: with the folder's packages, and without those that are missing there."""
    start = fit(tiny())
    script, folder, out = ROOT / "scripts" / "on_gpu.sh", tmp_path / "pack", tmp_path / "out"
    variables = {
        "CONFIG": str(ROOT / "train" / "configs" / "gpu.toml"),
        "TRAIN": f"crop=32 batch=4 generator.widths=[4,8,8,8] generator.encoder_blocks=[1,1,1] "
        f"generator.middle_blocks=1 generator.decoder_blocks=[1,1,1] data.pairs=['{tmp_path}/pairs'] "
        "data.sharp=[] runtime.accelerator='cpu' runtime.workers=1 pool.capacity=64",
        "START": str(start), "PACK": str(folder), "PACK_MIB": "20", "PYTHON_VERSION": HERE,
        "RESULTS": str(tmp_path / "results"), "PYTHONPATH": import_path(), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    subprocess.run([script, "pack-train"], check=True, env=os.environ | variables, timeout=500)
    assert size_of(folder) <= 20 * 2**20
    started, packed = load_generator(start)[0].state_dict(), load_file(folder / "start.safetensors")
    assert {name: value.half().tolist() for name, value in started.items()} == {
        name: value.tolist() for name, value in packed.items()
    }
    with tarfile.open(folder / "packages.tar.xz") as tar:
        assert not any("avif" in name for name in tar.getnames())
    # What the folder lacks must not come from the environment of the tests.
    (folder / "sitecustomize.py").write_text(f"PACKAGES = {str(folder / 'packages')!r}\n{BLOCK}")
    for minutes in (0.2, 1, 4):  # a busy machine may need more for unpacking, imports and the pool
        shutil.rmtree(folder / "run", ignore_errors=True)
        done = subprocess.run(
            [folder / "scripts" / "on_gpu.sh", "train-minutes", str(minutes)],
            env=os.environ | {"OUT": str(out), "RESULTS": str(out), "TRAIN": "schedule.warmup_steps=2",
                              "TORCH_COMPILE_DISABLE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
            capture_output=True, text=True, timeout=500, check=False,
        )  # fmt: skip
        if done.returncode == 0 and load_generator(out / "weights.safetensors")[1]["step"]:
            break
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == [
        "curves.png",
        "journal.jsonl",
        "weights.safetensors",
    ]
    generator, state = load_generator(out / "weights.safetensors")
    assert state["step"] > 0
    assert state["seconds"] < 60 * minutes
    assert load_checkpoint(folder / "run" / "last.safetensors", {})["finished"]
    assert any((value != started[name]).any() for name, value in generator.state_dict().items())
    assert all("crops/s" in row for row in read_rows(out))


def test_large_weights_are_stored_in_half_precision(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.fit import checkpoint

    generator, state = load_generator(fit(tiny()))
    checkpoint.save_weights(tmp_path / "a" / "whole.safetensors", generator, tiny(), state)
    monkeypatch.setattr(checkpoint, "MOST_WEIGHTS", 1000)
    checkpoint.save_weights(tmp_path / "half.safetensors", generator, tiny(), state)
    whole, half = (tmp_path / name for name in ("a/whole.safetensors", "half.safetensors"))
    assert half.stat().st_size < 0.7 * whole.stat().st_size
    for path, precision in ((whole, 0.0), (half, 1e-3)):
        again = load_generator(path)[0].state_dict()
        for name, value in generator.state_dict().items():
            assert value.allclose(again[name], rtol=precision, atol=precision * 1e-3), name
