"""Drawn scenes."""

from __future__ import annotations

import numpy as np
import pytest

from train.data.leaves import draw_leaves


@pytest.mark.parametrize("size", [(48, 160), (361, 200)])
def test_a_scene_has_the_size_and_range_of_a_picture(size: tuple[int, int]) -> None:
    scene = draw_leaves(np.random.default_rng(0), *size)
    assert scene.shape == (*size, 3)
    assert scene.dtype == np.float32
    assert scene.min() >= 0
    assert scene.max() <= 1
    assert np.array_equal(scene, draw_leaves(np.random.default_rng(0), *size))


def test_a_scene_has_steep_edges_next_to_areas_without_detail() -> None:
    scene = draw_leaves(np.random.default_rng(1), 256, 384)
    steps = np.abs(np.diff(scene.mean(axis=2), axis=1))
    assert steps.max() > 0.3  # from one sample to the next
    assert np.median(steps) < 0.02  # the grain


def test_small_shapes_outnumber_large_ones() -> None:
    """The density of radii falls with their cube, so the number above a radius with its square."""
    rng = np.random.default_rng(2)
    scenes = np.concatenate([draw_leaves(rng, 512, 512) for _ in range(6)])
    edges = np.abs(np.diff(scenes.mean(axis=2), axis=1)) > 0.06
    runs = np.diff(np.flatnonzero(edges.ravel()))
    short, long = ((runs >= a) & (runs < 2 * a) for a in (8, 128))
    assert short.sum() > 4 * long.sum() > 0


def test_scenes_differ_in_density() -> None:
    rng = np.random.default_rng(3)
    detail = [np.abs(np.diff(draw_leaves(rng, 256, 256), axis=1)).mean() for _ in range(12)]
    assert max(detail) > 3 * min(detail)
