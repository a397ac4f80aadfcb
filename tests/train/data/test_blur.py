from __future__ import annotations

import numpy as np
import pytest

from train.data.blur import (
    Blur,
    BoxBlur,
    MotionBlur,
    PaperBlur,
    convolve,
    draw_path,
    from_linear,
    to_linear,
)
from train.data.trajectory import Floats, kernel, shake_trajectory, smooth_trajectory, uniform_kernel


def textured(size: int = 96) -> Floats:
    return np.random.default_rng(0).random((size, size, 3)).astype(np.float32)


def no_object() -> Floats:
    raise AssertionError("no object was asked for")


@pytest.mark.parametrize("seed", range(5))
def test_a_shake_is_the_paper_s_walk(seed: int) -> None:
    path = shake_trajectory(np.random.default_rng(seed))
    assert path.shape == (2000, 2)
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    assert steps == pytest.approx(60 / 1999)  # every step is as long: the path is 60 pixels
    assert np.abs(path).max() <= 60


def test_shakes_differ_and_follow_from_the_seed() -> None:
    first, again, other = (shake_trajectory(np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_impulses_turn_the_walk_back() -> None:
    # The chance is at most 0.2 × 0.001 a step, about 0.2 a walk: some of 200 turn sharply within one step.
    sharp_turns = 0
    for seed in range(200):
        steps = np.diff(shake_trajectory(np.random.default_rng(seed)), axis=0)
        steps /= np.linalg.norm(steps, axis=1, keepdims=True)
        sharp_turns += int(((steps[1:] * steps[:-1]).sum(1) < -0.5).sum())
    assert 5 < sharp_turns < 150


@pytest.mark.parametrize("seed", range(5))
def test_a_kernel_sums_to_one_with_the_middle_of_the_exposure_at_its_centre(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for path in (shake_trajectory(rng), smooth_trajectory(rng, 20)):
        weights = kernel(path)
        assert weights.shape[0] == weights.shape[1]
        assert weights.shape[0] % 2 == 1
        assert weights.sum() == pytest.approx(1, abs=1e-5)
        assert weights.min() >= 0
        centre = weights.shape[0] // 2
        assert weights[centre, centre] > 0


def test_a_kernel_splats_between_pixels() -> None:
    # Three points: the middle one at the centre, the others a quarter pixel to the right and left of it.
    weights = kernel(np.array([[-0.25, 0], [0, 0], [0.25, 0]]))
    assert weights[2].tolist() == pytest.approx([0, 0.25 / 3, 2.5 / 3, 0.25 / 3, 0])


def test_light_moves_along_the_trajectory() -> None:
    picture = np.zeros((9, 9), np.float32)
    picture[4, 4] = 1
    moved = convolve(picture, kernel(np.array([[0.0, 0.0], [0.0, 0.0], [2.0, 1.0]])))
    assert moved[4, 4] == pytest.approx(2 / 3)
    assert moved[5, 6] == pytest.approx(1 / 3)


def test_linear_light_is_srgb_s() -> None:
    assert to_linear(np.array([0.0, 0.04045, 0.5, 1.0], np.float32)) == pytest.approx(
        [0, 0.0031308, 0.2140411, 1], abs=1e-6
    )
    values = np.linspace(0, 1, 256, dtype=np.float32)
    assert from_linear(to_linear(values)) == pytest.approx(values, abs=1e-6)


@pytest.mark.parametrize("blur", [PaperBlur(), BoxBlur(), MotionBlur(layered=0, sharp=0)])
def test_blur_keeps_the_brightness_and_takes_detail(blur: Blur) -> None:
    flat = np.full((96, 96, 3), 0.37, np.float32)
    for seed in range(8):
        blurred, sharp = blur.apply(flat, np.random.default_rng(seed), no_object)
        assert blurred == pytest.approx(flat, abs=2e-3)
        blurred, sharp = blur.apply(textured(), np.random.default_rng(seed), no_object)
        assert blurred.shape == sharp.shape
        assert blurred.dtype == sharp.dtype == np.float32
        assert 0 <= blurred.min() <= blurred.max() <= 1
        assert blurred.std() < sharp.std()


def test_the_paper_s_blur_is_in_linear_light() -> None:
    # Half black, half white: light's mean 0.5 is the code value 0.735, not 0.5.
    stripes = np.zeros((96, 96, 3), np.float32)
    stripes[:, ::2] = 1
    brightest = 0.0
    for seed in range(6):
        blurred, _ = PaperBlur(exposures=(1.0,)).apply(stripes, np.random.default_rng(seed), no_object)
        brightest = max(brightest, float(blurred.mean()))
    assert brightest > 0.7


def test_a_layered_scene_s_sharp_picture_holds_the_object() -> None:
    scene, other = np.zeros((96, 96, 3), np.float32), np.ones((96, 96, 3), np.float32)
    options = MotionBlur(layered=1.0, sharp=0.0)
    _, sharp = options.apply(scene, np.random.default_rng(1), lambda: other)
    assert 0.05 < sharp.mean() < 0.95


@pytest.mark.parametrize("objects", [1, 3])
def test_objects_move_on_their_own(objects: int) -> None:
    options = MotionBlur(layered=1.0, sharp=0.0, objects=objects)
    counts = [len(options.draw(np.random.default_rng(seed)).objects) for seed in range(60)]
    assert set(counts) == set(range(1, objects + 1))


def test_some_examples_stay_sharp() -> None:
    motions = [MotionBlur().draw(np.random.default_rng(seed)) for seed in range(500)]
    still = sum(not motion.kernels for motion in motions)
    assert 20 < still < 62  # 8 % of 500, 3.5 σ of a binomial
    picture = textured()
    motion = next(motion for motion in motions if not motion.kernels)
    assert motion.reach == 0
    for result in motion.blur(picture, np.random.default_rng(0), no_object):
        assert np.array_equal(result, picture)


def test_a_motion_reaches_as_far_as_its_light_comes() -> None:
    for seed in range(30):
        motion = MotionBlur(sharp=0, layered=0, varying=0).draw(np.random.default_rng(seed))
        point = np.zeros((121, 121), np.float32)
        point[60, 60] = 1
        light = convolve(point, motion.kernels[0]) > 1e-6
        rows, columns = np.nonzero(light)
        assert max(np.abs(rows - 60).max(), np.abs(columns - 60).max()) <= motion.reach


def test_exposures_with_gaps_keep_some_light_and_their_middle() -> None:
    options = MotionBlur(sharp=0, frames=1.0, duty=(0.0, 0.0), wild=0.0, bend=0.0, twist=0.0, unevenness=0.0)
    for seed in range(40):
        path, light, _ = draw_path(np.random.default_rng(seed), options)
        assert 7 <= np.count_nonzero(light) <= 40  # short flashes, one for each of 7 to 13 frames
        centre = (path * light[:, None]).sum(0) / light.sum()
        assert np.linalg.norm(centre - path[len(path) // 2]) < 0.03 * np.linalg.norm(path[-1] - path[0]) + 0.1


def test_motion_is_straighter_than_wild_motion_by_default() -> None:
    def detour(options: MotionBlur) -> float:
        values = []
        for seed in range(200):
            path, *_ = draw_path(np.random.default_rng(seed), options)
            way = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
            values.append(float(way / np.linalg.norm(path[-1] - path[0]) - 1))
        return float(np.median(values))

    tame, wild = (detour(MotionBlur(wild=share, shake=0.0)) for share in (0.0, 1.0))
    assert 0 < tame < 0.5 * wild
    assert detour(MotionBlur(wild=0, bend=0, twist=0, unevenness=0)) == pytest.approx(0, abs=1e-9)


def test_an_even_box_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel size is 4, expected an odd number"):
        uniform_kernel(4)
    assert uniform_kernel(3).sum() == pytest.approx(1)
