from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from train.__main__ import cli
from train.data.pictures import Picture, read_picture, write_picture
from train.errors import ConfigError
from train.fit.checkpoint import save_checkpoint
from train.measure.grid import grid, to_pictures
from train.recipes.cgan import CganGenerator
from train.recipes.dcgan import DcganGenerator
from train.recipes.sample import between, enlarge_picture, interpolate, sample_grid
from train.recipes.srgan import SrganGenerator


@pytest.fixture
def dcgan() -> DcganGenerator:
    return DcganGenerator(16).eval()


@pytest.fixture
def cgan() -> CganGenerator:
    generator = CganGenerator(4).eval()
    generator.apply(lambda layer: layer.reset_parameters() if hasattr(layer, "reset_parameters") else None)
    torch.nn.init.normal_(generator.head[0].weight, 0, 1)  # so that samples differ visibly
    return generator


@pytest.fixture
def srgan() -> SrganGenerator:
    return SrganGenerator(2, blocks=1, width=4).eval()


def test_a_grid_shows_samples_row_by_row() -> None:
    samples = torch.tensor([-1.0, 0.0, 1.0])[:, None, None, None].expand(3, 1, 28, 28)
    sheet = grid(samples, columns=2)
    assert sheet.shape == (2 * 56 + 2, 2 * 56 + 2, 3)
    assert [int(sheet[y, x, 0]) for y, x in ((0, 0), (0, 113), (113, 0), (113, 113), (56, 0))] == [
        *(0, 128, 255),
        *(255, 255),  # no sample, the gap
    ]


def test_the_same_seed_draws_the_same_samples(dcgan: DcganGenerator) -> None:
    first, again, other = (sample_grid(dcgan, 6, 3, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert first.shape == (2 * 64 + 2, 3 * 64 + 4, 3)


def test_a_conditional_generator_gets_a_row_per_class_or_one_class(cgan: CganGenerator) -> None:
    assert sample_grid(cgan, 64, 3, 1).shape == (10 * 58 - 2, 3 * 58 - 2, 3)
    one, other = sample_grid(cgan, 4, 2, 1, label=0), sample_grid(cgan, 4, 2, 1, label=9)
    assert one.shape == (2 * 58 - 2, 2 * 58 - 2, 3)
    assert (one != other).any()


@pytest.mark.parametrize(("label", "message"), [(10, "class is 10, expected 0 to 9"), (-1, "class is -1")])
def test_an_unknown_class_is_refused(cgan: CganGenerator, label: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sample_grid(cgan, 4, 2, 1, label)


def test_only_cgan_has_classes_and_srgan_draws_nothing(dcgan: DcganGenerator, srgan: SrganGenerator) -> None:
    with pytest.raises(ConfigError, match="only a checkpoint of cgan has classes"):
        sample_grid(dcgan, 4, 2, 1, label=0)
    with pytest.raises(ConfigError, match="give it a --picture"):
        sample_grid(srgan, 4, 2, 1)


def test_interpolation_follows_the_sphere() -> None:
    x, y = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    root = 2 / 2**0.5
    torch.testing.assert_close(between(x, y, 0.5), torch.tensor([root, root]))
    torch.testing.assert_close(between(x, y, 1 / 3), 2 * torch.tensor([0.75**0.5, 0.5]))
    torch.testing.assert_close(between(x, x, 0.3), x)


def test_an_interpolation_is_a_video_that_ends_as_it_began(cgan: CganGenerator, tmp_path: Path) -> None:
    path = tmp_path / "walk.mkv"
    assert interpolate(cgan, path, 0.8, seed=1, label=2) == 20
    with av.open(str(path)) as video:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in video.decode(video=0)]
    assert len(frames) == 20
    assert frames[0].shape == (224, 224, 3)
    first, last = sample_grid(cgan, 2, 2, 1, label=2)[:, :56], sample_grid(cgan, 2, 2, 1, label=2)[:, 58:]
    for frame, wanted in ((frames[0], first), (frames[10], last)):
        assert np.abs(frame[2::8, 2::8] - wanted[1::2, 1::2]).mean() < 6  # H.264
    assert np.abs(frames[1] - frames[19]).mean() < 6
    assert np.abs(frames[0] - frames[10]).mean() > 12


def test_tiles_of_a_large_picture_join_without_seams(srgan: SrganGenerator) -> None:
    picture: Picture = np.random.default_rng(0).integers(0, 256, (150, 300, 3)).astype(np.uint8)
    with torch.inference_mode():
        whole = to_pictures(srgan(torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1))[0]
    tiled = enlarge_picture(srgan, picture)
    assert tiled.shape == (300, 600, 3)
    assert np.abs(tiled.astype(int) - whole).max() <= 1  # another order of sums


def test_other_generators_enlarge_nothing(dcgan: DcganGenerator) -> None:
    with pytest.raises(ConfigError, match="only a checkpoint of srgan enlarges"):
        enlarge_picture(dcgan, np.zeros((8, 8, 3), np.uint8))


def saved(path: Path, kind: str, generator: torch.nn.Module, **options: object) -> Path:
    save_checkpoint(path, {"generator": generator}, {"step": 1, "recipe": {"kind": kind, **options}})
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output.strip()


def test_the_command_draws_walks_and_enlarges(
    dcgan: DcganGenerator, srgan: SrganGenerator, tmp_path: Path
) -> None:
    checkpoint = saved(tmp_path / "d.safetensors", "dcgan", dcgan, data="", width=16)
    assert run("sample", checkpoint, "-o", tmp_path / "s.png", "--count", 4, "--columns", 2) == str(
        tmp_path / "s.png"
    )
    assert read_picture(tmp_path / "s.png").shape == (130, 130, 3)
    run("sample", checkpoint, "-o", tmp_path / "s.mkv", "--interpolate", 0.2)
    assert (tmp_path / "s.mkv").stat().st_size > 500
    checkpoint = saved(tmp_path / "e.safetensors", "srgan", srgan, data="", scale=2, blocks=1, width=4)
    write_picture(tmp_path / "low.png", np.zeros((9, 12, 3), np.uint8))
    run("sample", checkpoint, "-o", tmp_path / "high.png", "--picture", tmp_path / "low.png")
    assert read_picture(tmp_path / "high.png").shape == (18, 24, 3)


def test_an_srgan_exports_to_a_graph_that_computes_the_same(srgan: SrganGenerator, tmp_path: Path) -> None:
    from onnxruntime import InferenceSession

    checkpoint = saved(tmp_path / "e.safetensors", "srgan", srgan, data="", scale=2, blocks=1, width=4)
    path = run("export", checkpoint, tmp_path, "--name", "big", "--plain")
    assert path == str(tmp_path / "big-plain.onnx")
    rgb = np.random.default_rng(1).random((2, 3, 11, 14), np.float32)
    made = InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"rgb": rgb})[0]
    with torch.inference_mode():
        wanted = (srgan(2 * torch.from_numpy(rgb) - 1) / 2 + 0.5).numpy()
    np.testing.assert_allclose(made, wanted, atol=1e-5)


def test_a_dcgan_does_not_export(dcgan: DcganGenerator, tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "d.safetensors", "dcgan", dcgan, data="", width=16)
    with pytest.raises(ConfigError, match="only srgan exports"):
        run("export", checkpoint, tmp_path, "--name", "x", "--plain")
