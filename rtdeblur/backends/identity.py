"""Backend that returns its input unchanged: for tests, benchmarks and plain re-encoding."""

from __future__ import annotations

from collections.abc import Mapping

from rtdeblur.backends.base import Backend, PendingDevice
from rtdeblur.device import DeviceBatch
from rtdeblur.frames import FrameBatch


class IdentityBackend(Backend):
    """Frames pass unchanged."""

    name = "identity"
    description = "identity: frames pass unchanged"
    fingerprint: Mapping[str, str] = {"backend": name}
    takes_device_frames = True

    def infer(self, batch: FrameBatch) -> FrameBatch:
        """Return the batch itself."""
        return batch

    def submit_device(self, batch: DeviceBatch) -> PendingDevice:
        """Return the batch itself."""
        return lambda: batch

    def close(self) -> None:
        """Nothing to release."""
