"""Slot between two threads that holds only the newest item."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """Slot for one item: a new item replaces one that was not taken.

    Attributes:
        dropped: number of items replaced before they were taken.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._item: T | None = None
        self._ended = False
        self._changed = threading.Condition()

    @property
    def closed(self) -> bool:
        """True once the slot is empty and no more items will come."""
        with self._changed:
            return self._ended and self._item is None

    def put(self, item: T) -> None:
        """Store an item; never blocks."""
        with self._changed:
            self.dropped += self._item is not None
            self._item = item
            self._changed.notify()

    def take(self, timeout: float | None = None) -> T | None:
        """Wait for an item.

        Args:
            timeout: seconds to wait; None waits without limit.

        Returns:
            The newest item; None after the timeout, or once the slot is closed and empty.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._ended, timeout)
            item, self._item = self._item, None
            return item

    def close(self) -> None:
        """Accept no more items; the last one can still be taken."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
