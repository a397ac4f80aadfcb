from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from train.data.blur import BoxBlur
from train.data.pairs import DataOptions, TrainingPairs
from train.data.pictures import Picture, find_pairs, read_picture, write_picture
from train.errors import ConfigError, DataError

MakePairs = Callable[..., Path]


@pytest.fixture
def gopro(make_pairs: MakePairs, tmp_path: Path) -> Path:
    """GoPro's own layout: train/<scene>/{blur,blur_gamma,sharp}."""
    for scene in ("GOPR0372_07_00", "GOPR0384_11_00"):
        shutil.copytree(make_pairs(2, f"made/{scene}"), tmp_path / "train" / scene)
        shutil.copytree(tmp_path / "train" / scene / "blur", tmp_path / "train" / scene / "blur_gamma")
    return tmp_path / "train"


def test_pairs_are_found_in_both_layouts(gopro: Path, make_pairs: MakePairs) -> None:
    assert len(find_pairs(gopro)) == 4
    blurred, sharp = find_pairs(gopro, "blur_gamma")[3]
    assert blurred == gopro / "GOPR0384_11_00/blur_gamma/001.png"
    assert sharp == gopro / "GOPR0384_11_00/sharp/001.png"
    assert len(find_pairs(make_pairs(3))) == 3


def test_a_real_example_is_the_same_window_of_both(make_pairs: MakePairs) -> None:
    data = DataOptions(pairs=(str(make_pairs()),), real=1.0, recolour=False, real_scale=(1.0, 1.0))
    pairs = TrainingPairs(data, 32, seed=1)
    for index in range(8):
        blurred, sharp = pairs[index]
        assert blurred.shape == sharp.shape == (3, 32, 32)
        assert blurred.dtype == torch.float32
        assert -1 <= float(blurred.min()) <= float(blurred.max()) <= 1
        # The pairs' blur is a 7×1 box: the blurred crop is the sharp one, blurred along rows or columns.
        picture = sharp.permute(1, 2, 0).numpy()
        errors = [np.abs(cv2.blur(picture, k) - blurred.permute(1, 2, 0).numpy())[4:-4, 4:-4].max()
                  for k in ((7, 1), (1, 7))]  # fmt: skip
        assert min(errors) < 2.5 / 127.5  # rounding to 8 bits, twice


def test_a_long_exposure_is_the_mean_of_three_frames(tmp_path: Path) -> None:
    """Frames of one grey each, 100, 110 and 150, whose sharp ones are 10 darker; the fifth follows a gap."""
    for number, level in ((7, 100), (8, 110), (9, 150), (11, 250)):
        for kind, darker in (("blur", 0), ("sharp", 10)):
            (tmp_path / kind).mkdir(exist_ok=True)
            write_picture(
                tmp_path / kind / f"{number:03}.png", np.full((64, 80, 3), level - darker, np.uint8)
            )
    data = DataOptions(pairs=(str(tmp_path),), real=1.0, long=0.5, recolour=False)
    pairs = TrainingPairs(data, 32, seed=1)
    seen = {(int(blurred.max()), int(sharp.max())) for blurred, sharp in (pairs.codes(i) for i in range(60))}
    assert seen == {(120, 100), (100, 90), (110, 100), (150, 140), (250, 240)}


def test_a_long_exposure_needs_three_frames_of_one_size(tmp_path: Path, make_pairs: MakePairs) -> None:
    folder = make_pairs(2)
    data = DataOptions(pairs=(str(folder),), real=1.0, long=0.5)
    with pytest.raises(DataError, match=r"long is 0\.5, but none of the 2 pairs is between two others"):
        TrainingPairs(data, 32, seed=1)
    for kind in ("blur", "sharp"):
        write_picture(folder / kind / "002.png", np.full((200, 210, 3), 90, np.uint8))
    with pytest.raises(DataError, match=r"002\.png, next to it in time, 200×210 .*expected one size"):
        TrainingPairs(data, 32, seed=1)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_real_crops_are_scaled_both_ways(make_pairs: MakePairs, factor: float) -> None:
    """A box of 7 pixels along rows becomes one of 3 to 4, or of 14."""
    data = DataOptions(
        pairs=(str(make_pairs()),), real=1.0, recolour=False, real_scale=(factor, factor), full_size=0
    )
    blurred, sharp = (part.permute(1, 2, 0).numpy() for part in TrainingPairs(data, 32, seed=1)[0])
    errors = {
        (taps, along): np.abs(cv2.blur(sharp, (taps, 1) if along else (1, taps)) - blurred)[8:-8, 8:-8].mean()
        for taps in (3, 7, 15)
        for along in (True, False)
    }
    assert min(errors, key=errors.__getitem__)[0] == (3 if factor < 1 else 15)


def test_a_share_of_real_crops_keeps_its_size(make_pairs: MakePairs, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataOptions(pairs=(str(make_pairs()),), real=1.0, real_scale=(0.5, 0.5), full_size=0.5)
    pairs, scales = TrainingPairs(data, 32, seed=1), []
    crop = pairs._crop
    monkeypatch.setattr(
        pairs, "_crop", lambda rng, size, scale, *p: scales.append(scale) or crop(rng, size, scale, *p)
    )
    for index in range(40):
        pairs[index]
    assert set(scales) == {1.0, 0.5}
    assert 10 < scales.count(1.0) < 30


def test_excluded_pictures_are_not_used(make_pairs: MakePairs) -> None:
    folder = make_pairs(4)
    data = DataOptions(pairs=(str(folder),), sharp=(str(folder / "sharp"),), exclude=("001*", "003.png"))
    pairs = TrainingPairs(data, 32, seed=1)
    assert [blurred.name for blurred, _ in pairs.pairs] == ["000.png", "002.png"]
    assert {path.name for path in pairs.sharp} == {"000.png", "002.png"}
    with pytest.raises(DataError, match=r"exclude leaves none of the 4 pairs; it is \['\*'\]"):
        TrainingPairs(replace(data, exclude=("*",)), 32, seed=1)


def test_crops_prefer_edges(tmp_path: Path) -> None:
    picture = np.full((512, 512, 3), 90, np.uint8)
    picture[:, 256:] = (np.indices((512, 256)).sum(0) // 16 % 2 * 100)[..., None]  # half sky, half chequers
    (tmp_path / "sharp").mkdir()
    cv2.imwrite(str(tmp_path / "sharp/a.png"), picture)
    data = DataOptions(sharp=(str(tmp_path / "sharp"),), real=0, text=0, min_scale=1.0, recolour=False)
    data = replace(data, blur=BoxBlur(size=1), noise=0, jpeg=0)
    pairs = TrainingPairs(data, 32, seed=1)
    empty = sum(float(pairs[index][1].std()) == 0 for index in range(64))
    assert empty < 20  # chance leaves 29 of 64 empty, the best of three windows 6


def test_a_small_picture_does_not_put_mirrored_borders_into_other_crops(make_pairs: MakePairs) -> None:
    folder = make_pairs(3) / "sharp"
    red = np.zeros((32, 40, 3), np.uint8)
    red[..., 0] = 255
    write_picture(folder / "red.png", red)
    data = DataOptions(
        sharp=(str(folder),), real=0, text=0, noise=0, jpeg=0, video=0, recolour=False, blur=BoxBlur(size=31)
    )
    pairs = TrainingPairs(data, 32, seed=1)
    for index in range(20):
        blurred, sharp = (picture.permute(1, 2, 0).numpy() for picture in pairs[index])
        assert sharp[..., 1:].max() > -1  # not the red one, which has no surroundings to blur into a crop
        mirrored = cv2.blur(sharp, (31, 31), borderType=cv2.BORDER_REFLECT_101)
        assert np.abs(mirrored - blurred).max() > 0.1


def test_examples_depend_only_on_seed_and_index(make_pairs: MakePairs) -> None:
    data = DataOptions(pairs=(str(make_pairs()),), real=0.3)
    first, again, other = (TrainingPairs(data, 32, seed) for seed in (1, 1, 2))
    for index in (5, 0, 7):
        for a, b in zip(first[index], again[index], strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(first[0][1], other[0][1])
    assert not torch.equal(first[0][1], first[1][1])


def test_real_is_the_share_of_real_pairs(make_pairs: MakePairs, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = TrainingPairs(DataOptions(pairs=(str(make_pairs()),), real=1 / 3), 32, seed=1)
    counts = {"_real": 0, "_synthetic": 0}
    flat = np.zeros((32, 32, 3), np.float32)
    for name in counts:

        def count(rng: object, name: str = name) -> tuple[object, object]:
            counts[name] += 1
            return flat, flat

        monkeypatch.setattr(pairs, name, count)
    for index in range(900):
        pairs[index]
    assert counts["_real"] == pytest.approx(300, abs=60)  # 4 σ of a binomial


def test_frames_of_a_clip_are_averaged_in_linear_light(tmp_path: Path) -> None:
    clip = tmp_path / "clip"
    clip.mkdir()
    for i in range(13):  # black but for one white frame in the middle
        write_picture(clip / f"{i:02d}.png", np.full((48, 48, 3), 255 * (i == 6), np.uint8))
    data = DataOptions(clips=(str(clip),), averaged=1.0, real=0.0, noise=0.0, jpeg=0.0)
    pairs = TrainingPairs(data, 32, seed=1)
    seen = set()
    for index in range(40):
        blurred, sharp = pairs[index]
        if sharp.max() == 1:  # the middle frame is the white one
            seen.add(round((blurred[0, 0, 0].item() + 1) * 127.5))
    # 1/7, 1/9, 1/11 and 1/13 of the light, as sRGB code values of 8 bits.
    assert seen == {round(255 * (1.055 * (1 / n) ** (1 / 2.4) - 0.055)) for n in (7, 9, 11, 13)}


@pytest.mark.parametrize("share", [{"real": 0.5}, {"averaged": 0.5, "real": 0.0}])
def test_a_share_of_missing_data_is_refused(share: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"is 0\.5"):
        DataOptions(sharp=("photos",), **share)  # type: ignore[arg-type]


@pytest.mark.parametrize("scales", [(0.0, 1.0), (1.3, 0.5)])
def test_impossible_scales_are_refused(scales: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match=r"real_scale is .*, expected two positive factors"):
        DataOptions(sharp=("photos",), real=0, real_scale=scales)


class TestBadDataAreNamedBeforeTraining:
    def make(self, folder: Path, crop: int = 32) -> TrainingPairs:
        return TrainingPairs(DataOptions(pairs=(str(folder),), real=1.0, cache_mib=0), crop, seed=1)

    def test_an_unreadable_picture_is_reported(self, make_pairs: MakePairs) -> None:
        folder = make_pairs()
        (folder / "sharp" / "001.png").write_bytes(b"no picture")
        with pytest.raises(DataError, match=r"cannot read .*sharp/001\.png"):
            self.make(folder)

    @pytest.mark.parametrize("ending", ["png", "jpg"])
    def test_a_truncated_picture_is_reported(
        self, ending: str, make_pairs: MakePairs, make_scene: Callable[..., Picture]
    ) -> None:
        folder = make_pairs()
        for kind in ("blur", "sharp"):
            write_picture(folder / kind / f"cut.{ending}", make_scene(0))
        path = folder / "blur" / f"cut.{ending}"
        path.write_bytes(path.read_bytes()[:-2000])  # half a JPEG decodes to a picture with a grey half
        with pytest.raises(DataError, match=rf"cannot read .*blur/cut\.{ending}"):
            self.make(folder)

    def test_a_pair_of_two_sizes_is_reported(
        self, make_pairs: MakePairs, make_scene: Callable[..., Picture]
    ) -> None:
        folder = make_pairs()
        write_picture(folder / "sharp" / "001.png", make_scene(0, 64, 64))
        with pytest.raises(DataError, match=r"001\.png is 96×112 but its sharp twin 64×64"):
            self.make(folder)

    def test_a_missing_counterpart_is_reported(self, make_pairs: MakePairs) -> None:
        folder = make_pairs()
        (folder / "sharp" / "001.png").unlink()
        with pytest.raises(DataError, match=r"blur/001\.png has no sharp twin"):
            self.make(folder)

    def test_an_empty_folder_is_reported(self, tmp_path: Path) -> None:
        (tmp_path / "blur").mkdir()
        with pytest.raises(DataError, match=r"no pictures in .*blur"):
            self.make(tmp_path)
        with pytest.raises(DataError, match=r"the folder .*nowhere does not exist"):
            self.make(tmp_path / "nowhere")

    def test_a_crop_larger_than_a_picture_is_reported(self, make_pairs: MakePairs) -> None:
        with pytest.raises(DataError, match=r"crop is 112×112 but .*\.png only 96×112"):
            self.make(make_pairs(), crop=112)

    def test_a_clip_that_is_too_short_is_reported(self, make_pairs: MakePairs) -> None:
        folder = make_pairs(8) / "sharp"
        with pytest.raises(DataError, match="has 8 frames, expected at least 13"):
            TrainingPairs(DataOptions(clips=(str(folder),), averaged=1.0, real=0.0), 32, seed=1)


def test_pictures_keep_their_channels_in_order(tmp_path: Path) -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[..., 0] = 200
    write_picture(tmp_path / "red.png", picture)
    assert np.array_equal(read_picture(tmp_path / "red.png"), picture)
