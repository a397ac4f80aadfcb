from fractions import Fraction

import pytest

from rtdeblur.ffmpeg.splices import Splicer
from rtdeblur.media.decoder import FrameClock


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0, 40, 80], [0, 40, 80]),
        ([None, None, None], [0, 40, 80]),
        ([100, None, 180], [100, 140, 180]),
        ([0, 0, 40], [0, 1, 40]),
        ([80, 40, 120], [80, 81, 120]),
    ],
    ids=["given", "missing", "one missing", "twice the same", "backwards"],
)
def test_times_always_increase(given: list[int | None], expected: list[int]) -> None:
    clock = FrameClock(Fraction(1, 1000), Fraction(25))
    assert [clock.stamp(pts, 0) for pts in given] == expected


def test_a_missing_time_follows_the_duration() -> None:
    clock = FrameClock(Fraction(1, 1000), None)
    assert [clock.stamp(0, 100), clock.stamp(None, 70), clock.stamp(None, 0)] == [0, 70, 110]


def test_a_restarted_clock_continues_where_it_was() -> None:
    splicer = Splicer()
    times = [Fraction(100), Fraction(101), Fraction(3), Fraction(102), Fraction(4)]
    placed = [time + splicer.offset(time, Fraction(1)) for time in times]
    # 102 still came from the old clock and stays; 4 follows 3, which followed 101.
    assert placed == [100, 101, 102, 102, 103]
