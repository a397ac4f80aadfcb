from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from train.data.pictures import Picture
from train.networks.temporal import FusionGraph, FusionNetwork, MotionGraph, estimate_motion, move

MakeScene = Callable[..., Picture]


@pytest.fixture
def scene(make_scene: MakeScene) -> Picture:
    """A textured picture, slightly soft, as restored frames are."""
    return np.asarray(cv2.GaussianBlur(make_scene(3, 224, 288), (0, 0), 1.2), np.uint8)


def warped(picture: Picture, matrix: np.ndarray) -> Picture:
    """The same scene, moved: `matrix` (2, 3) maps its pixels to those of the result."""
    size, flags = picture.shape[1::-1], cv2.INTER_CUBIC
    return np.asarray(
        cv2.warpAffine(picture, matrix, size, flags=flags, borderMode=cv2.BORDER_REFLECT_101), np.uint8
    )


def luma(picture: Picture) -> Tensor:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return torch.from_numpy(grey)[None, None]


def inner(x: Tensor, border: int = 24) -> Tensor:
    return x[..., border:-border, border:-border]


def motions() -> dict[str, np.ndarray]:
    return {
        "translation": np.array([[1, 0, 7.5], [0, 1, -3.0]]),
        "rotation": np.asarray(cv2.getRotationMatrix2D((144, 112), 1.5, 1.0)),  # 4 pixels in the corners
    }


@pytest.mark.parametrize("kind", motions())
def test_a_known_motion_is_found(scene: Picture, kind: str) -> None:
    matrix = motions()[kind]
    motion = estimate_motion(luma(scene), luma(warped(scene, matrix)))
    starts = np.stack(np.mgrid[: scene.shape[0], : scene.shape[1]][::-1])  # x, y
    ends = np.einsum("ij,jhw->ihw", matrix[:, :2], starts) + matrix[:, 2, None, None]
    errors = inner((motion[0] - torch.from_numpy(ends - starts)).abs())
    assert float(errors.mean()) < 0.1
    assert float(errors.quantile(0.95)) < 0.2


@pytest.mark.parametrize("kind", motions())
def test_moving_by_the_motion_returns_the_picture(scene: Picture, kind: str) -> None:
    second = warped(scene, motions()[kind])
    motion = estimate_motion(luma(scene), luma(second))
    height, width = scene.shape[:2]
    motion = motion / torch.tensor([width, height]).view(1, 2, 1, 1)
    first, second_, moved = (inner(x) for x in (luma(scene), luma(second), move(luma(second), motion)))
    before, after = ((x - first).square().mean() for x in (second_, moved))
    assert float(after) < float(before) / 50


def test_pictures_without_texture_do_not_move() -> None:
    flat = torch.full((1, 1, 40, 56), 100.0)
    assert float(estimate_motion(flat, flat).abs().max()) == 0


def test_a_new_network_takes_something_of_both_neighbours_and_corrects_nothing() -> None:
    with torch.inference_mode():
        correction, weights = FusionNetwork()(torch.rand(2, 3, 16, 24), torch.rand(2, 1, 16, 24))
    assert float(correction.abs().max()) == 0
    assert torch.equal(weights[:, 0], weights[:, 1])
    assert 0.2 < float(weights.mean()) < 0.3


def test_equal_frames_stay_as_they_are(scene: Picture) -> None:
    three = luma(scene).expand(3, -1, -1, -1)
    chroma = torch.from_numpy(scene[::2, ::2, 1:].copy()).permute(2, 0, 1)[None].expand(3, -1, -1, -1)
    constants = torch.tensor([255.0]), torch.tensor([0.0])
    with torch.inference_mode():
        motion = MotionGraph()(three)
        fused = FusionGraph(FusionNetwork()).eval()(
            three.byte(), chroma, three[:1].byte(), motion, *constants
        )
    for plane, given in zip(fused, (three, chroma), strict=True):
        assert int((plane.float() - given[:1].float()).abs().max()) <= 1
