"""The backend that gives back what it gets: for tests, benchmarks and plain re-encoding."""

from __future__ import annotations

from rtdeblur.backends import Backend
from rtdeblur.frames import FrameBatch


class IdentityBackend(Backend):
    """Frames pass unchanged."""

    name = "identity"
    description = "identity: frames pass unchanged"

    def infer(self, batch: FrameBatch) -> FrameBatch:
        """Give the batch itself."""
        return batch

    def close(self) -> None:
        """Nothing to release."""
