"""Strength of the restoration: out = in + strength · (restored − in)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import cast

import numpy as np

from rtdeblur.backends.base import Backend, BackendWrapper, Pending, PendingDevice
from rtdeblur.cuda.base import DeviceTimes
from rtdeblur.device import DeviceBatch
from rtdeblur.errors import UsageError
from rtdeblur.frames import FrameBatch, Plane, Planes

FULL = 1.0
"""The model's own result, unscaled."""
HIGHEST = 2.0
"""Twice the model's change; beyond it, ringing outweighs detail."""


def checked(strength: float) -> float:
    """Check a strength and return it.

    Raises:
        UsageError: it is not a number from 0 to HIGHEST.
    """
    if not (isinstance(strength, Real) and math.isfinite(strength) and 0 <= strength <= HIGHEST):
        raise UsageError(
            f"strength is {strength!r}, expected 0 (no change) to {HIGHEST:g} (twice the change)"
        )
    return float(strength)


def scale_change(before: Planes, after: Planes, strength: float, peak: int) -> Planes:
    """Scale a model's change: `before + strength · (after − before)`, rounded and clipped to 0..peak.

    Args:
        before: the model's input planes, of any shape.
        after: its output planes, of the same shapes and dtype.
        strength: 0 returns `before` and 1 returns `after`, bit for bit.
        peak: largest code value.

    Returns:
        Planes of the same shapes and dtype.
    """
    if strength in (0.0, FULL):
        return after if strength else before

    def scaled(old: Plane, new: Plane) -> Plane:
        # float32 represents every 16-bit code value and leaves 8 bits for the fraction.
        change = np.subtract(new, old, dtype=np.float32)
        change *= np.float32(strength)
        change += old
        np.rint(change, out=change)
        np.clip(change, 0, peak, out=change)
        return change.astype(old.dtype)

    return cast(Planes, tuple(scaled(old, new) for old, new in zip(before, after, strict=True)))


class StrengthBackend(BackendWrapper):
    """Backend wrapper that scales the change.

    Args:
        inner: the wrapped backend; closed by `close`.
        strength: 0 to HIGHEST; may be changed between batches.

    Raises:
        UsageError: the strength is out of range.
    """

    def __init__(self, inner: Backend, strength: float = FULL) -> None:
        super().__init__(inner)
        self.strength = strength

    @property
    def strength(self) -> float:
        """Scale of the change; 0 leaves pictures unchanged without running the model."""
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._strength = checked(value)

    @property
    def description(self) -> str:  # type: ignore[override]
        """The inner backend's description, plus the strength unless it is 1."""
        note = "" if self._strength == FULL else f", strength {self._strength:g}"
        return super().description + note

    @property
    def fingerprint(self) -> Mapping[str, str]:  # type: ignore[override]
        """The inner backend's fingerprint, plus the strength."""
        return {**super().fingerprint, "strength": f"{self._strength:g}"}

    @property
    def device_times(self) -> DeviceTimes | None:  # type: ignore[override]
        """Times of the inner backend's last batch."""
        return self._inner.device_times

    @property
    def takes_device_frames(self) -> bool:  # type: ignore[override]
        """True only at full strength: restoring in place overwrites the input needed for scaling."""
        return self._inner.takes_device_frames and self._strength == FULL

    def infer(self, batch: FrameBatch) -> FrameBatch:
        """Restore a batch and scale the change."""
        return self.submit(batch)()

    def submit(self, batch: FrameBatch) -> Pending:
        """Start a batch; the returned callable waits for it and scales the change."""
        strength = self._strength
        if not strength:
            return lambda: batch
        pending = self._inner.submit(batch)

        def landed() -> FrameBatch:
            restored = pending()
            planes = scale_change(batch.planes, restored.planes, strength, batch.colour.peak)
            return replace(restored, planes=planes)

        return landed

    def submit_device(self, batch: DeviceBatch) -> PendingDevice:
        """Start a batch in GPU memory, at full strength."""
        return self._inner.submit_device(batch)


def with_strength(backend: Backend, strength: float) -> Backend:
    """Return the backend itself at full strength, else one that scales its change."""
    return backend if strength == FULL else StrengthBackend(backend, strength)
