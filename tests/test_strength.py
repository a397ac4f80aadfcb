"""Scaling of the model's change: on planes, in a backend, in the pipeline's batches."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from rtdeblur.backends.identity import IdentityBackend
from rtdeblur.errors import UsageError
from rtdeblur.frames import Colour, FrameBatch, Planes
from rtdeblur.strength import StrengthBackend, scale_change


def random_planes(dtype: type, peak: int, seed: int) -> Planes:
    rng = np.random.default_rng(seed)
    shapes = (2, 1, 12, 10), (2, 1, 6, 5), (2, 1, 6, 5)
    y, u, v = (rng.integers(0, peak + 1, shape).astype(dtype) for shape in shapes)
    return y, u, v


DEPTHS = [(np.uint8, 255), (np.uint16, 1023), (np.uint16, 65535)]


@pytest.mark.parametrize(("dtype", "peak"), DEPTHS)
def test_zero_is_the_input_and_one_is_the_result_bit_for_bit(dtype: type, peak: int) -> None:
    before, after = random_planes(dtype, peak, 0), random_planes(dtype, peak, 1)
    for strength, expected in ((0.0, before), (1.0, after)):
        for plane, same in zip(scale_change(before, after, strength, peak), expected, strict=True):
            np.testing.assert_array_equal(plane, same)


@pytest.mark.parametrize(("dtype", "peak"), DEPTHS)
@pytest.mark.parametrize("strength", [0.25, 0.3, 0.5, 1.5, 1.999, 2.0])
def test_the_change_is_scaled_rounded_and_clipped(dtype: type, peak: int, strength: float) -> None:
    before, after = random_planes(dtype, peak, 0), random_planes(dtype, peak, 1)
    for plane, old, new in zip(scale_change(before, after, strength, peak), before, after, strict=True):
        assert plane.dtype == dtype
        exact = np.clip(old + strength * (new.astype(float) - old), 0, peak)
        # Half a code value is the best that integers can do; float32 adds less than a hundredth at 16 bits.
        assert np.abs(plane - exact).max() <= 0.51


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 2.0])
def test_unchanged_samples_stay_unchanged_at_any_strength(strength: float) -> None:
    before = random_planes(np.uint8, 255, 3)
    for plane, same in zip(scale_change(before, before, strength, 255), before, strict=True):
        np.testing.assert_array_equal(plane, same)


class Lighter(IdentityBackend):
    """Adds 20 to luma; counts its calls."""

    slots, unrestored, closed, calls = 2, 3, False, 0

    def infer(self, batch: FrameBatch) -> FrameBatch:
        self.calls += 1
        y, u, v = batch.planes
        return replace(batch, planes=(y + np.uint8(20), u, v))

    def close(self) -> None:
        self.closed = True


def grey_batch() -> FrameBatch:
    y, u, v = (np.full((2, 1, 4, 4), 100, np.uint8) for _ in range(3))
    return FrameBatch((y, u, v), (5, 6), Fraction(1, 25), Colour(), ("a", "b"))


@pytest.mark.parametrize(("strength", "level"), [(0.0, 100), (0.5, 110), (1.0, 120), (2.0, 140)])
def test_a_backend_scales_its_change(strength: float, level: int) -> None:
    inner, batch = Lighter(), grey_batch()
    backend = StrengthBackend(inner, strength)
    for restored in (backend.infer(batch), backend.submit(batch)()):
        assert (restored.planes[0] == level).all()
        assert (restored.planes[1] == 100).all()
        assert (restored.pts, restored.carriers) == (batch.pts, batch.carriers)
    assert inner.calls == (2 if strength else 0)  # nothing to run for no change
    assert (backend.name, backend.slots, backend.unrestored) == ("identity", 2, 3)
    inner.slots = 1  # as when a GPU runs out of memory
    assert backend.slots == 1
    backend.close()
    assert inner.closed


def test_a_batch_in_flight_keeps_the_strength_it_was_submitted_with() -> None:
    backend = StrengthBackend(Lighter(), 0.5)
    pending = backend.submit(grey_batch())
    backend.strength = 2.0
    assert (pending().planes[0] == 110).all()
    assert (backend.infer(grey_batch()).planes[0] == 140).all()


def test_frames_stay_on_a_gpu_only_at_full_strength() -> None:
    backend = StrengthBackend(Lighter(), 1.0)
    assert backend.takes_device_frames
    backend.strength = 0.5
    assert not backend.takes_device_frames
    assert "strength 0.5" in backend.description


@pytest.mark.parametrize("strength", [-0.1, 2.1, float("nan"), float("inf"), "1", None])
def test_a_strength_out_of_range_is_refused(strength: object) -> None:
    with pytest.raises(UsageError, match=r"strength is .*expected 0 .* to 2"):
        StrengthBackend(IdentityBackend(), strength)  # type: ignore[arg-type]


def test_another_strength_is_another_job() -> None:
    full, half = (dict(StrengthBackend(Lighter(), strength).fingerprint) for strength in (1.0, 0.5))
    assert full != half
    assert full["backend"] == half["backend"] == "identity"
