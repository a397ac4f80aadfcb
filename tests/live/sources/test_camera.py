"""Camera sources, on a fake of OpenCV's camera."""

import sys

import numpy as np
import pytest
from fake_cameras import FakeCapture

from rtdeblur.errors import DependencyError, InputError
from rtdeblur.live.image import to_bgr
from rtdeblur.live.sources import open_source
from rtdeblur.live.sources.base import SourceOptions

cv2 = pytest.importorskip("cv2")


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeCapture]:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    monkeypatch.setattr(FakeCapture, "opened", True)
    FakeCapture.pictures = []
    return FakeCapture


def test_pictures_keep_their_colours(fake: type[FakeCapture]) -> None:
    bgr = np.zeros((49, 66, 3), np.uint8)
    bgr[:, :32], bgr[:, 32:] = (200, 120, 40), (30, 60, 220)
    fake.pictures = [bgr]
    camera = open_source("0", SourceOptions())
    frame = camera.read()
    assert frame is not None
    assert [p.shape for p in frame.planes] == [(48, 66), (24, 33), (24, 33)]  # 4:2:0 needs even sides
    back = to_bgr(frame).astype(int)
    assert np.abs(back[:, 4:28] - (200, 120, 40)).max() <= 4
    assert np.abs(back[:, 36:] - (30, 60, 220)).max() <= 4
    camera.close()
    assert fake.last.released


def test_size_and_rate_are_requested(fake: type[FakeCapture]) -> None:
    open_source("/dev/video3", SourceOptions(size=(720, 1280), frame_rate=60)).close()
    asked = fake.last.properties
    assert fake.last.device == "/dev/video3"
    assert asked[cv2.CAP_PROP_FRAME_HEIGHT] == 720
    assert asked[cv2.CAP_PROP_FRAME_WIDTH] == 1280
    assert asked[cv2.CAP_PROP_FPS] == 60
    assert asked[cv2.CAP_PROP_BUFFERSIZE] == 1


def test_a_dropped_picture_is_passed_over_and_an_unplugged_camera_is_lost(fake: type[FakeCapture]) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    fake.pictures = [picture, None, None, picture]
    camera = open_source("1", SourceOptions())
    assert camera.read() is not None
    assert camera.read() is not None
    assert camera.damaged == 2
    with pytest.raises(InputError, match="camera 1 delivers no more pictures"):
        camera.read()


def test_a_missing_camera_is_an_error(fake: type[FakeCapture], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake, "opened", False)
    with pytest.raises(InputError, match="cannot open camera 7: not connected"):
        open_source("7", SourceOptions())
    assert fake.last.released


def test_without_opencv_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(DependencyError, match=r"pip install 'rtdeblur\[live\]'"):
        open_source("0", SourceOptions())
