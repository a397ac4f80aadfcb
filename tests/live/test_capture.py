import gc
import threading
import weakref
from collections.abc import Callable

import pytest

from rtdeblur.errors import InputError
from rtdeblur.live import capture as module
from rtdeblur.live.capture import LiveCapture


@pytest.fixture(autouse=True)
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(module, "LONGEST_DELAY", 0.02)


def run(openers: list[Callable[[], object]], said, *, patient: bool = False) -> LiveCapture:
    """LiveCapture from sources that are opened one after another, until the last ends."""
    waiting = iter(openers)
    capture = LiveCapture(lambda: next(waiting)(), said, patient=patient)
    capture.start()
    while capture.slot.take(10) is not None:
        pass
    capture.stop()
    return capture


def refused() -> object:
    raise InputError("cannot open 'rtsp://camera': Connection refused")


def test_a_finite_source_ends(fake, said) -> None:
    source = fake.source([fake.picture(i) for i in range(5)], finite=True)
    capture = run([lambda: source], said)
    assert capture.frames == 5
    assert capture.error is None
    assert capture.reconnects == 0
    assert source.closed
    assert said.lines == []


def test_a_lost_source_is_reopened_and_reported_once(fake, said) -> None:
    first = fake.source([fake.picture(0), fake.lost("the cable is out")])
    first.damaged = 7
    second = fake.source([fake.picture(1), fake.picture(2)])  # its end is not final, as for a stream
    third = fake.source([fake.picture(3)], finite=True)
    capture = run([lambda: first, refused, refused, lambda: second, refused, lambda: third], said)
    assert capture.frames == 4
    assert capture.reconnects == 2
    assert capture.damaged == 7
    assert capture.error is None
    assert first.closed
    assert second.closed
    assert said.lines == [
        "the cable is out; trying again until it is back",
        "the source is back",
        "the sender ended the stream; trying again until it is back",
        "the source is back",
    ]


def test_a_source_missing_at_the_start_is_an_error(said) -> None:
    capture = run([refused], said)
    assert isinstance(capture.error, InputError)
    assert "Connection refused" in str(capture.error)


def test_a_patient_capture_waits_for_it(fake, said) -> None:
    source = fake.source([fake.picture()], finite=True)
    capture = run([refused, refused, lambda: source], said, patient=True)
    assert capture.frames == 1
    assert capture.reconnects == 0
    assert said.lines == [
        "cannot open 'rtsp://camera': Connection refused; trying again until it is available",
        "the source is available",
    ]


def test_an_unexpected_exception_ends_the_capture(fake, said) -> None:
    capture = run([lambda: fake.source([fake.picture(), MemoryError("no memory")])], said)
    assert isinstance(capture.error, MemoryError)


def test_delays_double_up_to_the_longest(fake, said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY", 0.5)
    monkeypatch.setattr(module, "LONGEST_DELAY", 3)
    delays: list[float | None] = []

    class Event(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            delays.append(timeout)
            return self.is_set()

    source = fake.source([fake.picture(), fake.lost("the cable is out")])
    again = fake.source([fake.picture(), fake.lost("the cable is out")])
    last = fake.source([], finite=True)
    openers = iter([lambda: source, refused, refused, refused, refused, lambda: again, refused, lambda: last])
    capture = LiveCapture(lambda: next(openers)(), said)
    monkeypatch.setattr(capture, "_stop", Event())
    capture.start()
    capture._thread.join()
    assert delays == [0.5, 1, 2, 3, 3, 0.5, 1]


def test_stop_does_not_wait_for_the_delay(fake, said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY", 1000)
    capture = LiveCapture(refused, said, patient=True)
    capture.start()
    while not said.lines:
        pass
    assert capture.message in ("waiting for the source; trying again in 1000 s", "opening the source")
    capture.stop()


def test_a_lost_source_is_freed_before_it_is_opened_again(fake, said) -> None:
    """Even if its parts refer to each other, as those of PyAV do."""
    lost: list[weakref.ref[object]] = []

    def opened() -> object:
        source = fake.source([fake.picture(0), fake.lost("the cable is out")])
        source.itself = source
        lost.append(weakref.ref(source))
        return source

    def last() -> object:
        assert [source() for source in lost] == [None, None]
        return fake.source([fake.picture(1)], finite=True)

    gc.disable()
    try:
        capture = run([opened, opened, last], said)
    finally:
        gc.enable()
    assert capture.error is None
