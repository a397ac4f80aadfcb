"""RTSP over TCP, from a server that knows as much of RFC 2326 and RFC 6184 as a camera must."""

from __future__ import annotations

import pytest
from stream_servers import encoded, rtsp_server

from rtdeblur.errors import InputError
from rtdeblur.live.sources import open_source
from rtdeblur.live.sources.base import SourceOptions

QUICK = SourceOptions(timeout_seconds=5)


def test_pictures_arrive_in_order_and_a_sender_that_hangs_up_ends_them() -> None:
    with rtsp_server(encoded(60)) as url:
        source = open_source(url, QUICK)
        means = [round(float(f.planes[0].mean())) for f in iter(source.read, None)]
        source.close()
        again = open_source(url, QUICK)
        assert again.read() is not None
        again.close()
    assert means == sorted(means)
    assert len(means) >= 50
    assert means[-1] >= 115


def test_a_camera_that_falls_silent_is_lost() -> None:
    with rtsp_server(encoded(30), hang_up=False) as url:
        source = open_source(url, SourceOptions(timeout_seconds=1))
        with pytest.raises(InputError, match=r"'rtsp://me:\*\*\*@127.*' was silent for 1 s"):
            list(iter(source.read, None))
        source.close()


def test_a_late_joiner_waits_for_the_next_key_frame() -> None:
    with rtsp_server(encoded(300, key_every=250)[1:]) as url:
        source = open_source(url, QUICK)
        frames = list(iter(source.read, None))
        source.close()
    assert 40 <= len(frames) <= 50
    assert source.damaged == 0
