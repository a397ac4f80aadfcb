from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from train.data.pictures import Picture, find_pairs, read_picture, sharpness
from train.errors import DataError
from train.fit.checkpoint import save_checkpoint
from train.measure.detection import Detections, People, hog_people, matches, overlap
from train.measure.evaluate import MOST_PSNR, evaluate, mean, psnr, restore_with, ssim
from train.measure.flicker import Flicker
from train.measure.report import Measures, report
from train.networks.generators import DeblurGanOptions, FastGenerator

MakePairs = Callable[..., Path]
MakeScene = Callable[..., Picture]


def test_psnr_is_of_the_three_channels_together() -> None:
    black = np.zeros((8, 8, 3), np.uint8)
    red = black.copy()
    red[..., 0] = 30
    assert psnr(red, black) == pytest.approx(10 * np.log10(255**2 / (30**2 / 3)))


def test_ssim_is_wang_s_with_a_gaussian_window(make_scene: MakeScene) -> None:
    sharp = make_scene(0)
    noisy = np.clip(sharp + np.random.default_rng(0).normal(0, 20, sharp.shape), 0, 255).astype(np.uint8)

    def blurred(plane: np.typing.NDArray[np.float64]) -> np.typing.NDArray[np.float64]:
        return cv2.GaussianBlur(plane, (11, 11), 1.5)

    values = []
    for channel in range(3):
        x, y = sharp[..., channel].astype(np.float64), noisy[..., channel].astype(np.float64)
        mx, my = blurred(x), blurred(y)
        vx, vy, vxy = blurred(x * x) - mx * mx, blurred(y * y) - my * my, blurred(x * y) - mx * my
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        index = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
        values.append(index[5:-5, 5:-5].mean())
    assert ssim(noisy, sharp) == pytest.approx(np.mean(values), abs=1e-4)
    assert ssim(sharp, sharp) == pytest.approx(1)


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    checks = np.zeros((64, 64, 3), np.uint8)
    checks[::2, ::2] = checks[1::2, 1::2] = 100
    # At every pixel of a checkerboard the 4-neighbour Laplacian is ±400: variance 160 000.
    assert sharpness(checks) == pytest.approx(160_000)
    assert sharpness(np.full((64, 64, 3), 7, np.uint8)) == 0


def test_an_identity_changes_no_score(make_pairs: MakePairs) -> None:
    generator = FastGenerator((4, 4, 4, 4), (1, 1, 1), 1, (1, 1, 1))
    table = evaluate(restore_with(generator), find_pairs(make_pairs()))
    assert list(table) == ["pairs/000", "pairs/001"]
    average = mean(table)
    assert average["psnr_in"] == average["psnr_out"]
    assert average["psnr_unharmed"] == MOST_PSNR
    assert average["ssim_in"] == average["ssim_out"]
    assert average["sharpness_blurred"] == average["sharpness_restored"] < average["sharpness_sharp"]
    for suffix in ("", "_256"):
        row = table["pairs/000"]
        ratio = row[f"sharpness_restored{suffix}"] / row[f"sharpness_sharp{suffix}"]
        assert row[f"sharpness_ratio{suffix}"] == pytest.approx(ratio)


@pytest.mark.parametrize("size", [(33, 47), (64, 64)])
def test_restoring_keeps_the_size_and_the_training_mode(size: tuple[int, int], make_scene: MakeScene) -> None:
    generator = FastGenerator((4, 4, 4, 4), (1, 1, 1), 1, (1, 1, 1)).train()
    picture = make_scene(0, *size)
    assert np.array_equal(restore_with(generator)(picture), picture)
    assert generator.training


def test_a_dropout_seed_gives_the_same_picture_again(make_scene: MakeScene) -> None:
    generator = DeblurGanOptions(width=4, blocks=1).build()
    for weight in generator.parameters():
        weight.data.normal_(0, 0.1)
    picture = make_scene(0)
    first, again, other, off = (restore_with(generator, seed)(picture) for seed in (1, 1, 2, None))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, off)


def test_flicker_is_measured_where_the_input_is_still() -> None:
    still = np.full((40, 60, 3), 100, np.uint8)
    moving = still.copy()
    moving[:, 40:] = 200  # the right third moves
    dirty = moving.copy()
    dirty[:, :20] += 6
    noisy = moving.copy()
    noisy[:, :10] += 4
    flicker = Flicker()
    flicker.add(still, still, still)
    flicker.add(moving, dirty, noisy)
    values = flicker.scores()
    assert values["flicker_in"] == 0
    assert values["still"] == pytest.approx(36 / 60)  # 40 columns, less the 4 that see the moving ones
    assert values["flicker_out"] == pytest.approx(6 * 20 / 36)
    assert values["flicker_sharp"] == pytest.approx(4 * 10 / 36)


def test_one_frame_does_not_flicker() -> None:
    flicker = Flicker()
    flicker.add(*[np.zeros((8, 8, 3), np.uint8)] * 3)
    assert flicker.scores() == {"flicker_in": 0, "flicker_out": 0, "flicker_sharp": 0, "still": 0}


def test_boxes_match_once_and_the_closest_first() -> None:
    box = (0.0, 0.0, 10.0, 10.0)
    near, far = (1.0, 0.0, 11.0, 10.0), (50.0, 0.0, 60.0, 10.0)
    assert overlap(box, box) == 1
    assert overlap(box, near) == pytest.approx(90 / 110)
    assert overlap(box, far) == 0
    assert matches([box, near], [box]) == 1
    assert matches([near, box], [box, near]) == 2
    counts = Detections()
    counts.add([box, far], [near])
    counts.add([], [far])
    scores = counts.scores()
    assert (scores["precision"], scores["recall"], scores["f1"]) == (0.5, 0.5, 0.5)
    assert Detections().scores()["f1"] == 1


def test_people_are_counted_before_and_after_restoring() -> None:
    box = (0.0, 0.0, 10.0, 10.0)
    people = People(lambda picture: [box] if picture.any() else [])
    dark, bright = np.zeros((8, 8, 3), np.uint8), np.ones((8, 8, 3), np.uint8)
    people.add(dark, bright, bright)
    scores = people.scores()
    assert (scores["detection_in"]["recall"], scores["detection_out"]["recall"]) == (0, 1)


def test_the_people_detector_runs_or_names_the_opencv_that_has_it() -> None:
    if not hasattr(cv2, "HOGDescriptor"):
        with pytest.raises(DataError, match="has no HOG people detector; try: pip install"):
            hog_people()
        return
    assert hog_people()(np.full((160, 160, 3), 90, np.uint8)) == []
    assert hog_people()(np.full((96, 112, 3), 90, np.uint8)) == []  # less than its window of 128 × 64


def test_a_missing_detector_is_reported_before_measuring(
    make_pairs: MakePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(cv2, "HOGDescriptor", raising=False)
    with pytest.raises(DataError, match="has no HOG people detector"):  # not the lost checkpoint
        report(tmp_path / "none.safetensors", make_pairs(1), tmp_path / "report", Measures(detect=True))


def test_a_report_is_json_markdown_and_a_sheet(make_pairs: MakePairs, tmp_path: Path) -> None:
    folder, checkpoint = make_pairs(3), tmp_path / "last.safetensors"
    config = tmp_path / "run.toml"
    config.write_text(
        'output = "x"\n[data]\nsharp = ["x"]\nreal = 0\n[loss]\nl1 = 1\n[schedule]\nsteps = 1\n'
        '[generator]\nkind = "fast"\nwidths = [4, 4, 4, 4]\n'
    )
    save_checkpoint(checkpoint, {"generator": FastGenerator((4, 4, 4, 4))}, {"step": 1})
    path = report(checkpoint, folder, tmp_path / "report", Measures(config=config, clip=True))
    document = json.loads((tmp_path / "report" / "report.json").read_text())
    assert document["mean"]["psnr_in"] == document["mean"]["psnr_out"]
    assert document["flicker"]["flicker_in"] == document["flicker"]["flicker_out"]
    assert "flicker_sharp" in document["flicker"]
    text = path.read_text()
    assert "# last.safetensors on 3 pairs" in text
    assert "| pairs/002 | " in text
    assert "| sharpness_ratio_256 |" in text
    assert read_picture(tmp_path / "report" / "sheet.jpg").shape == (3 * 96, 3 * 112, 3)
