import pytest

from rtdeblur.live.meters import FrameInterval, Latency, Rate


def test_the_rate_covers_only_the_last_seconds(clock) -> None:
    rate = Rate(2.0, clock)
    assert rate.per_second == 0
    for _ in range(100):
        clock.advance(0.04)
        rate.tick()
    assert rate.per_second == pytest.approx(25)
    clock.advance(3)
    assert rate.per_second == 0


def test_the_interval_ignores_jumps_of_the_senders_clock() -> None:
    interval = FrameInterval()
    assert interval.seconds is None
    for start in (5.0, 90_000.0, 0.0):
        for i in range(20):
            interval.add(start + i / 25)
    assert interval.seconds == pytest.approx(0.04)


def test_the_interval_follows_a_change_of_rate() -> None:
    interval = FrameInterval()
    for i in range(60):
        interval.add(i / 60)
    for i in range(40):
        interval.add(1 + i / 15)
    assert interval.seconds == pytest.approx(1 / 15)


def test_latency_percentiles_match_the_sorted_values(clock) -> None:
    latency = Latency(3.0, clock)
    assert latency.recent is None
    assert latency.overall is None
    for milliseconds in range(100, 0, -1):  # 1 to 100 ms: the nearest ranks are 50 and 95
        latency.add(milliseconds / 1000)
    assert latency.recent == pytest.approx((50, 95))
    assert latency.overall == (50, 95)
    clock.advance(10)
    latency.add(0.2)
    assert latency.recent == pytest.approx((200, 200))
    assert latency.overall == (51, 96)
