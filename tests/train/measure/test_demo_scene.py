from __future__ import annotations

import numpy as np

from train.measure.demo_scene import SIZE, blurred_scene, filmed_scene, sharp_scene


def test_a_filmed_scene_moves_around_the_blurred_one() -> None:
    frames = filmed_scene()
    assert [frame.shape for frame in frames] == [(*SIZE, 3)] * 5
    assert np.array_equal(frames[2], blurred_scene())
    sharp = sharp_scene().astype(int)
    inner = (slice(40, -40), slice(40, -40))
    for frame, (x, y) in zip(frames, ((-9, 5), (-4, -3), (0, 0), (6, -2), (11, 4)), strict=True):
        found = min(
            ((dx, dy) for dx in range(-12, 13) for dy in range(-6, 7)),
            key=lambda move: float(
                np.abs(frame[inner] - np.roll(sharp, (-move[1], -move[0]), (0, 1))[inner]).sum()
            ),
        )
        assert abs(found[0] - x) <= 3
        assert abs(found[1] - y) <= 3
