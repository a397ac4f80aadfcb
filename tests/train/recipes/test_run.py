from __future__ import annotations

import gzip
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from train.errors import CheckpointError
from train.fit.checkpoint import load_checkpoint
from train.fit.config import ScheduleOptions
from train.fit.journal import curves, read_rows
from train.recipes.cgan import Cgan
from train.recipes.dcgan import Dcgan
from train.recipes.examples import LabelledExamples, LowAndHigh, PictureExamples
from train.recipes.open import open_recipe
from train.recipes.ring import MODES, Ring, RingExamples
from train.recipes.run import GAMES, Recipe, train
from train.recipes.srgan import Srgan

STEPS = ScheduleOptions(steps=2)


def labelled(folder: Path, count: int = 200) -> Path:
    """A folder of idx files: class c is a picture of brightness 25 c."""
    labels = np.arange(count, dtype=np.uint8) % 10
    pictures = np.broadcast_to((25 * labels)[:, None, None], (count, 28, 28)).astype(np.uint8)
    folder.mkdir()
    header = struct.pack(">IIII", 0x803, count, 28, 28)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pictures.tobytes()))
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, count) + labels.tobytes())
    return folder


def weights_of(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


@pytest.fixture(params=["dcgan", "cgan", "srgan", "ring"])
def recipe(request: pytest.FixtureRequest, tmp_path: Path, pictures: Path) -> Recipe:
    """Each recipe, tiny."""
    shared = {"batch": 4, "every": 2, "schedule": STEPS}
    made: dict[str, Recipe] = {
        "dcgan": Dcgan(data=str(pictures), squares=40, width=16, **shared),
        "cgan": Cgan(data=str(tmp_path / "idx"), width=8, **shared),
        "srgan": Srgan(data=str(pictures), width=4, blocks=1, crop=32, **shared),
        "ring": Ring(width=8, **shared),
    }
    if request.param == "cgan":
        labelled(tmp_path / "idx")
    return made[request.param]


def test_a_recipe_trains_journals_and_opens_again(recipe: Recipe, tmp_path: Path) -> None:
    last = train(recipe, tmp_path / "run")
    rows = read_rows(tmp_path / "run")
    losses = next(row for row in rows if "generator" in row)
    assert losses["step"] == 2
    assert losses["gradient"] > 0
    assert [row["step"] for row in rows if "generator" not in row] == [0, 2]  # scores
    sheets = sorted(path.name for path in (tmp_path / "run" / "sheets").iterdir())
    assert sheets == ["00000000.jpg", "00000002.jpg"]
    if recipe.kind != "ring":
        opened, generator, state = open_recipe(last)
        assert opened == recipe
        assert state["step"] == 2
        assert not generator.training


def test_a_resumed_run_takes_the_same_steps(pictures: Path, tmp_path: Path) -> None:
    whole = Dcgan(
        data=str(pictures), squares=40, width=8, batch=4, every=2, schedule=ScheduleOptions(steps=4)
    )
    one = weights_of(train(whole, tmp_path / "one"))
    train(replace(whole, schedule=STEPS), tmp_path / "two")
    other = weights_of(train(whole, tmp_path / "two"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_finished_run_is_left_as_it_is(pictures: Path, tmp_path: Path) -> None:
    recipe = Dcgan(data=str(pictures), squares=40, width=8, batch=4, every=2, schedule=STEPS)
    last = train(recipe, tmp_path / "run")
    before = last.read_bytes()
    assert train(recipe, tmp_path / "run") == last
    assert last.read_bytes() == before


@pytest.mark.parametrize("loss", GAMES)
def test_each_game_moves_the_generator(loss: str, tmp_path: Path) -> None:
    recipe = Ring(loss=loss, width=8, batch=16, every=5, critic_steps=2, schedule=STEPS)  # type: ignore[arg-type]
    trained = weights_of(train(recipe, tmp_path / "run"))
    torch.manual_seed(recipe.seed)
    fresh = recipe.build_generator().state_dict()
    moved = [key for key, value in fresh.items() if not torch.equal(trained[f"generator/{key}"], value)]
    assert len(moved) == len(fresh)
    if loss == "wgan":
        assert max(float(v.abs().max()) for k, v in trained.items() if k.startswith("critic/")) <= 0.0100001


def test_srgan_starts_from_its_pre_training_and_then_has_a_critic(pictures: Path, tmp_path: Path) -> None:
    shared = {"data": str(pictures), "width": 4, "blocks": 1, "crop": 32, "batch": 2, "every": 2}
    first = train(Srgan(**shared, schedule=STEPS), tmp_path / "mse")  # type: ignore[arg-type]
    assert not [key for key in weights_of(first) if key.startswith("critic")]
    second = Srgan(**shared, start_from=str(first), vgg="vgg.safetensors")  # type: ignore[arg-type]
    generator = second.build_generator()
    second.start(generator)
    trained = weights_of(first)
    assert all(
        torch.equal(value, trained[f"generator/{key}"]) for key, value in generator.state_dict().items()
    )
    assert second.adversarial is not None
    assert second.adversarial.weight == 1e-3


def test_srgan_s_losses_are_the_squared_error_or_the_features(pictures: Path) -> None:
    paths = sorted(pictures.iterdir())
    fake, real = torch.full((1, 3, 32, 32), 0.5), torch.zeros(1, 3, 32, 32)
    assert LowAndHigh(paths, paths, 32, 4).content(fake, real)["mse"].item() == 0.25
    network = nn.Identity()
    terms = LowAndHigh(paths, paths, 32, 4, network, feature_weight=2.0).content(fake, real)  # type: ignore[arg-type]
    assert terms["features"].item() == 0.5


def test_srgan_s_small_pictures_are_the_large_ones_shrunk(pictures: Path) -> None:
    paths = sorted(pictures.iterdir())
    high, low = LowAndHigh(paths, paths, 32, 2).draw(np.random.default_rng(0), 3)
    assert high.shape == (3, 3, 32, 32)
    assert low.shape == (3, 3, 16, 16)
    means = torch.nn.functional.avg_pool2d(high, 2)
    assert (low - means).abs().mean() < 0.05  # the bicubic kernel is wider, and overshoots at edges


def test_the_judge_counts_samples_of_the_class_that_was_asked_for() -> None:
    labels = torch.arange(2000) % 10
    pictures = (25 * labels).to(torch.uint8)[:, None, None, None].expand(-1, 1, 28, 28)

    class Judge(nn.Module):
        """The class of the nearest brightness."""

        def forward(self, pictures: Tensor) -> Tensor:
            code = (pictures.flatten(1).mean(1, keepdim=True) + 1) * 127.5
            return -(code - 25 * torch.arange(10)).abs()

    examples = LabelledExamples(pictures, labels, 3, Judge())  # type: ignore[arg-type]

    class Asked(nn.Module):
        def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
            return (25 * labels / 127.5 - 1)[:, None, None, None].expand(-1, 1, 28, 28)

    class Same(nn.Module):
        def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
            return torch.zeros(len(labels), 1, 28, 28)

    scores, sheet = examples.score(Asked())
    assert scores["own label"] == 1
    assert examples.score(Same())[0]["own label"] == pytest.approx(0.1)
    assert sheet.shape == (10 * 58 - 2, 10 * 58 - 2, 3)
    row = sheet[58 + 28, :, 0]  # of class 1: one brightness, and the gaps
    assert set(row.tolist()) == {25, 255}


def test_the_spread_of_samples_is_1_for_real_pictures_and_0_for_one_picture() -> None:
    pictures = torch.randint(0, 256, (3000, 3, 32, 32), dtype=torch.uint8)
    examples = PictureExamples(pictures, noise=1)

    class Real(nn.Module):
        def forward(self, noise: Tensor) -> Tensor:
            return pictures[torch.randint(3000, (len(noise),))] / 127.5 - 1

    class One(nn.Module):
        def forward(self, noise: Tensor) -> Tensor:
            return torch.zeros(len(noise), 3, 32, 32)

    assert examples.score(Real())[0]["spread"] == pytest.approx(1, abs=0.02)
    assert examples.score(One())[0]["spread"] == 0


def test_the_ring_counts_the_modes_that_samples_hit() -> None:
    examples = RingExamples("")

    class Some(nn.Module):
        def __init__(self, modes: int) -> None:
            super().__init__()
            self.modes = modes

        def forward(self, noise: Tensor) -> Tensor:
            return examples._modes[torch.arange(len(noise)) % self.modes][..., None, None]

    assert examples.score(Some(MODES))[0] == {"modes": MODES, "hits": 1.0}
    assert examples.score(Some(3))[0] == {"modes": 3, "hits": 1.0}


def test_a_deblurring_checkpoint_is_not_a_recipe_s(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"generator/x": torch.zeros(1)}, path, {"state": json.dumps({"step": 1})})
    with pytest.raises(CheckpointError, match="not a checkpoint of dcgan, cgan, srgan"):
        open_recipe(path)
    assert load_checkpoint(path, {}) == {"step": 1}


def test_scores_have_charts_with_their_baseline() -> None:
    losses = [{"step": i, "crops": i, "generator": 1.0 / i} for i in (1, 2)]
    plain = curves(losses)
    scores = {"psnr": 20.0, "psnr_bicubic": 21.0, "FID[features=vgg16]": 3.0, "time": 5.0}
    drawn = curves([*losses, {"step": 2, "crops": 2, **scores}])
    assert len(drawn) == 3 * len(plain)  # loss, PSNR with bicubic, FID
    assert (drawn[: len(plain)] == plain).all()
