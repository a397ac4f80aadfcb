from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from train.data.pictures import read_picture, write_picture
from train.errors import DataError
from train.temporal.sequences import RealSequences
from train.temporal.synthetic import SyntheticOptions, SyntheticSequences

MakeClip = Callable[..., Path]

NAMES = [f"{scene}_{number:08d}.png" for scene in ("test001", "test002") for number in (8, 9, 10, 11, 13)]
STILL = SyntheticOptions(size=(64, 80), still=1, objects=0, linear=0, noise=(2.0,), jpeg=0)


def middles(sequences: RealSequences) -> list[str]:
    """Names of the middle frames, after checking that each sequence is in order."""
    found = []
    for index in range(len(sequences)):
        before, current, after, sharp = (name for _, name, *_ in sequences.key(index))
        numbers = [int(name[8:16]) for name in (before, current, after)]
        assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]
        assert before[:8] == current[:8] == after[:8]
        assert sharp == current
        found.append(current)
    return found


def test_sequences_are_consecutive_and_in_order(make_clip: MakeClip) -> None:
    folder = make_clip(NAMES)
    sequences = RealSequences(folder)
    assert middles(sequences) == [NAMES[1], NAMES[2], NAMES[6], NAMES[7]]
    frames = sequences[1]
    for picture, name in zip(frames.blurred, NAMES[1:4], strict=True):
        assert np.array_equal(picture, read_picture(folder / "blur" / name))
    assert np.array_equal(frames.sharp, read_picture(folder / "sharp" / NAMES[2]))


def test_excluded_pictures_are_used_for_validation_only(make_clip: MakeClip) -> None:
    folder = make_clip(NAMES)
    assert middles(RealSequences(folder, ["test001*"])) == [NAMES[6], NAMES[7]]
    assert middles(RealSequences(folder, ["test001*"], only_excluded=True)) == [NAMES[1], NAMES[2]]


def test_without_consecutive_pairs_the_error_says_what_is_expected(make_clip: MakeClip) -> None:
    folder = make_clip(["000001.png", "000003.png", "last.png"])
    with pytest.raises(DataError, match=r"no three consecutive pairs in .*clip; expected names that end in"):
        RealSequences(folder)
    with pytest.raises(DataError, match=r"in .*clip that do not match 0\*; expected"):
        RealSequences(folder, ["0*"])


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the folder .*nowhere does not exist"):
        RealSequences(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"the folder .*nowhere does not exist"):
        SyntheticSequences([tmp_path / "nowhere"], 1, 0)


def test_frames_of_different_sizes_are_refused(make_clip: MakeClip) -> None:
    folder = make_clip(NAMES[:3])
    write_picture(folder / "blur" / NAMES[2], np.zeros((80, 100, 3), np.uint8))
    with pytest.raises(DataError, match=r"is 80×104 but .*00010.png 80×100"):
        RealSequences(folder)[0]


def test_a_still_camera_sees_the_sharp_frame_three_times(photos: Path) -> None:
    for index in range(3):
        blurred, sharp = SyntheticSequences([photos], 3, 1, STILL)[index]
        for frame in blurred:
            assert frame.shape == sharp.shape == (64, 80, 3)
            difference = frame.astype(float) - sharp
            assert 1.5 < difference.std() < 2.5  # the noise, and rounding
        assert not np.array_equal(blurred[0], blurred[1])  # noise differs from frame to frame


def test_a_moving_camera_blurs_and_a_short_exposure_does_not(photos: Path) -> None:
    moving = {"size": (64, 80), "still": 0, "objects": 0, "linear": 0, "noise": (0.0,), "jpeg": 0, "turn": 0}
    errors = {}
    for sharp_share in (0, 1):
        options = SyntheticOptions(sharp=sharp_share, speed=(16, 16), exposure=(1, 1), **moving)
        before, current, after, sharp = _flat(SyntheticSequences([photos], 1, 3, options)[0])
        errors[sharp_share] = [np.abs(frame - sharp).mean() for frame in (before, current, after)]
    assert errors[1][1] == 0
    assert errors[0][1] > 3
    assert min(errors[1][0], errors[1][2]) > 3


def _flat(frames: tuple) -> list[np.ndarray]:
    return [picture.astype(float) for picture in (*frames[0], frames[1])]


def test_a_synthetic_sequence_depends_only_on_seed_and_index(photos: Path) -> None:
    options = SyntheticOptions(size=(64, 80))
    first, second = (SyntheticSequences([photos], 8, 1, options) for _ in range(2))
    second[0]
    for index in (3, 4):
        for a, b in zip(_flat(first[index]), _flat(second[index]), strict=True):
            assert np.array_equal(a, b)
    assert first.key(3) == second.key(3) != first.key(4)
