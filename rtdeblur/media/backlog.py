"""Keeps a decoder that is too slow for its stream from falling ever further behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

LATE_SECONDS = 1.0
"""Packets that come so much later than they should, for as long, are a backlog and no network's hiccup."""
_CAUGHT_UP_SECONDS = 0.2
_PATIENCE_SECONDS = 5.0
"""A stream without key frames cannot be joined by them."""
# Clocks of two machines differ by up to 100 parts in a million each.
_DRIFT = 2e-4
# A sender that starts again has a new clock.
_JUMP_SECONDS = 60.0


class Backlog:
    """Lets a decoder skip to key frames until it has caught up.

    A packet's delay is the time at which it is read less its own time; the least delay seen is that of a
    reader without backlog.

    Args:
        context: the decoder; its `skip_frame` is set.
        clock: tells the time.
    """

    def __init__(self, context: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._context, self._clock = context, clock
        self._least: float | None = None
        self._read_at = self._seconds = 0.0
        self._late_since: float | None = None
        self._skipping_since: float | None = None

    def before(self, seconds: float) -> None:
        """Note that a packet of that time was read and will be decoded."""
        now = self._clock()
        delay = now - seconds
        if self._least is None or not -LATE_SECONDS < seconds - self._seconds < _JUMP_SECONDS:
            self._least = delay
        self._least = min(delay, self._least + (now - self._read_at) * _DRIFT)
        self._read_at, self._seconds = now, seconds
        late = delay - self._least
        if late < _CAUGHT_UP_SECONDS:
            self._late_since = None
        elif late >= LATE_SECONDS and self._late_since is None:
            self._late_since = now
        since = self._skipping_since
        if since is not None and now - since >= _PATIENCE_SECONDS:
            self._skip(None)
            self._late_since = None
        elif since is None and self._late_since is not None and now - self._late_since >= LATE_SECONDS:
            self._skip(now)

    def after(self) -> None:
        """Note that a picture was decoded; while skipping it is a key frame, from which all can follow."""
        if self._skipping_since is not None and self._late_since is None:
            self._skip(None)

    def _skip(self, since: float | None) -> None:
        self._skipping_since = since
        self._context.skip_frame = "DEFAULT" if since is None else "NONKEY"
