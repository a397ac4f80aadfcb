"""The gate that guards half precision, on a fake GPU (`fake_gpu`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from brighten import Gpu, batch_of

from rtdeblur.errors import EngineError


def test_an_engine_that_fails_the_parity_test_is_refused(gpu: Gpu) -> None:
    gpu.trt.restore = lambda plane, peak: np.minimum(plane + 3, peak)  # two levels off: 42 dB
    backend = gpu.backend()
    message = r"fp16 engine of 'brighten' at 48×32 .* 42\.1 dB .* expected 50 dB.*try --precision fp32"
    for _ in range(2):
        with pytest.raises(EngineError, match=message):
            backend.infer(batch_of(1))
    assert len(gpu.trt.built) == 2  # it was not kept
    assert list(gpu.folder.glob("*.engine")) == []
    backend.close()
    assert not gpu.driver.alive


@pytest.mark.parametrize(
    ("code", "at"), [(0, ...), (255, ...), (0, slice(0, 8))], ids=["lowest", "highest", "a corner"]
)
def test_broken_frames_are_replaced_by_their_input(gpu: Gpu, code: int, at: object) -> None:
    backend = gpu.backend()
    backend.infer(batch_of(3))
    assert backend.unrestored == 0

    def broken(plane: np.ndarray, peak: float) -> np.ndarray:
        frames = (plane + 1).reshape(3, -1)
        frames[1] = code if at is ... else np.where(np.arange(frames.shape[1]) < 200, code, frames[1])
        return frames.reshape(plane.shape)

    gpu.trt.restore = broken
    batch = batch_of(3, seed=5)
    got = backend.infer(batch)
    for new, old in zip(got.planes, batch.planes, strict=True):
        np.testing.assert_array_equal(new[1], old[1])
        np.testing.assert_array_equal(new[[0, 2]], old[[0, 2]] + 1)
    assert backend.unrestored == 1
    backend.close()


def test_a_constant_frame_in_may_come_out_constant(gpu: Gpu) -> None:
    backend = gpu.backend()
    batch = batch_of(1)
    black = tuple(np.full_like(p, c) for p, c in zip(batch.planes, (16, 128, 128), strict=True))
    backend.infer(replace(batch, planes=black))
    assert backend.unrestored == 0
    backend.close()
