"""A decoder on a clock controlled by the test: 25 pictures and one key frame per second."""

from types import SimpleNamespace

import pytest

from rtdeblur.live.sources.network import Backlog

RATE = 25


class Stream:
    """Returns packets when they are due, or at once if the reader is behind."""

    def __init__(self, cost: float, *, drift: float = 0.0, keys: bool = True) -> None:
        self.now, self.index, self.cost, self.drift, self.keys = 1000.0, 0, cost, drift, keys
        self.decoder = SimpleNamespace(skip_frame="DEFAULT")
        self.backlog = Backlog(self.decoder, lambda: self.now)
        self.zero = 5.0  # the sender's own clock
        self.lags: list[float] = []
        self.shown: list[bool] = []

    def run(self, seconds: float) -> None:
        end = self.index + round(seconds * RATE)
        while self.index < end:
            due = 1000 + self.index / RATE * (1 + self.drift)
            self.now = max(self.now, due)
            self.backlog.before(self.zero + self.index / RATE)
            key = self.keys and self.index % RATE == 0
            shown = key or self.decoder.skip_frame == "DEFAULT"
            if shown:
                self.now += self.cost
                self.backlog.after()
            self.shown.append(shown)
            self.lags.append(self.now - due)
            self.index += 1


@pytest.mark.parametrize("drift", [-1e-4, 1e-4])
def test_a_decoder_that_keeps_up_skips_nothing_for_hours(drift: float) -> None:
    stream = Stream(0.01, drift=drift)
    stream.run(6 * 3600)
    assert all(stream.shown)


def test_a_slow_decoder_skips_to_key_frames_and_stays_close() -> None:
    stream = Stream(0.05)  # a fifth too slow
    stream.run(120)
    assert max(stream.lags) < 3
    assert sum(stream.shown) > len(stream.shown) / 2  # most pictures are shown all the same
    skipped = [i for i, shown in enumerate(stream.shown) if not shown]
    resumed = {i + 1 for i in skipped} - set(skipped)
    assert all(i % RATE == 0 for i in resumed if i < len(stream.shown))  # and only from key frames on


def test_a_hiccup_of_the_network_costs_no_picture() -> None:
    stream = Stream(0.005)
    stream.run(10)
    stream.now += 2  # nothing came for two seconds, then all at once
    stream.run(10)
    assert all(stream.shown)


def test_a_restarted_sender_is_not_a_backlog() -> None:
    stream = Stream(0.005)
    stream.run(100)
    stream.zero -= 100
    stream.run(10)
    stream.zero += 90_000
    stream.run(10)
    assert all(stream.shown)


def test_a_stream_without_key_frames_is_not_skipped_forever() -> None:
    stream = Stream(0.05, keys=False)
    stream.run(60)
    assert any(stream.shown[-10 * RATE :])
