import threading
import time

import pytest

from rtdeblur.live import outputs as module
from rtdeblur.live.outputs import LiveOutput


@pytest.fixture(autouse=True)
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY", 0.01)


def finish(output: LiveOutput) -> None:
    output.end()
    output.join()


def test_times_count_from_the_first_frame(fake, said) -> None:
    sink = fake.sink()
    output = LiveOutput("recording", sink.open, said, depth=9)
    for i in range(3):
        output.put(fake.picture(i), 50 + i / 10, 25.0)
    finish(output)
    assert sink.seconds == pytest.approx([0, 0.1, 0.2])
    assert (sink.opened, sink.closed, sink.rate) == (1, 1, 25.0)
    assert (output.frames, output.dropped, output.error) == (3, 0, None)


def test_a_slow_sink_drops_the_oldest_and_delays_nothing(fake, said) -> None:
    gate = threading.Event()
    sink = fake.sink(gate)
    output = LiveOutput("recording", sink.open, said, depth=4)
    began = time.perf_counter()
    for i in range(100):
        output.put(fake.picture(i), float(i), None)
    assert time.perf_counter() - began < 5  # the sink has written nothing yet
    gate.set()
    finish(output)
    newest = sink.seconds[-4:]
    assert [s - newest[0] for s in newest] == [0, 1, 2, 3]
    assert output.frames + output.dropped == 100
    assert output.frames in (4, 5)  # what waited, and one in the sink's hands


def test_a_lost_receiver_is_reopened(fake, said) -> None:
    sink = fake.sink(fail_at=(2, 3))
    output = LiveOutput("sending to udp://x", sink.open, said, persistent=True)
    for i in range(5):
        output.put(fake.picture(i), float(i), None)
    deadline = time.monotonic() + 10
    while sink.writes < 5:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    finish(output)
    assert output.frames == 3
    assert output.error is None
    assert (sink.opened, sink.closed) == (3, 3)
    assert said.lines == [
        "cannot write: Broken pipe; trying again until it is back",
        "sending to udp://x is back",
    ]


@pytest.mark.parametrize(("fail_at", "persistent", "frames"), [((1,), True, 0), ((3,), False, 2)])
def test_a_missing_receiver_and_a_full_disk_end_the_output(
    fake, said, fail_at: tuple[int, ...], persistent: bool, frames: int
) -> None:
    sink = fake.sink(fail_at=fail_at)
    output = LiveOutput("recording", sink.open, said, persistent=persistent)
    for i in range(5):
        output.put(fake.picture(i), float(i), None)
    finish(output)
    output.put(fake.picture(5), 5.0, None)
    assert str(output.error) == "cannot write: Broken pipe"
    assert output.frames == frames
    assert sink.closed == 1
    assert said.lines == ["cannot write: Broken pipe"]
