"""Fixtures of live tests; the doubles are in `tests/doubles`."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fake_live import (
    EndlessSource,
    FakeBackend,
    FakeClock,
    FakeSink,
    FakeSource,
    RecordingDisplay,
    Said,
    picture,
)

from rtdeblur.errors import InputError


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def fake() -> SimpleNamespace:
    """The doubles by name."""
    return SimpleNamespace(
        picture=picture, source=FakeSource, endless=EndlessSource, backend=FakeBackend, sink=FakeSink,
        display=RecordingDisplay, lost=InputError,
    )  # fmt: skip
