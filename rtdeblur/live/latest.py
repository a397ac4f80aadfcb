"""A place for one item between two threads, where a newer one replaces one that nobody took."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """Holds the newest item.

    Attributes:
        dropped: items that were replaced before anybody took them.
        closed: True when no more will come and none is left.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._item: T | None = None
        self._ended = False
        self._changed = threading.Condition()

    @property
    def closed(self) -> bool:
        """True when no more will come and none is left."""
        with self._changed:
            return self._ended and self._item is None

    def put(self, item: T) -> None:
        """Leave an item; never waits."""
        with self._changed:
            self.dropped += self._item is not None
            self._item = item
            self._changed.notify()

    def take(self, timeout: float | None = None) -> T | None:
        """Wait for an item.

        Args:
            timeout: seconds to wait; None for as long as it takes.

        Returns:
            The newest item; None where none came in time, or no more will.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._ended, timeout)
            item, self._item = self._item, None
            return item

    def close(self) -> None:
        """Say that no more will come; the last item can still be taken."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
