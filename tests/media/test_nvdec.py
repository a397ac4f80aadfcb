"""Frames that a GPU decodes (NVDEC)."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from rtdeblur.device import DeviceFrame
from rtdeblur.ffmpeg.pixels import downloaded, planar, planes_of
from rtdeblur.frames import Frame, Planes
from rtdeblur.gpu_path import Wanted, obstacle_of, open_reader
from rtdeblur.media.reader import FileReader

pytestmark = pytest.mark.needs_cuda

CODECS = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9", "av1": "libsvtav1"}
QUICK = {"hevc": {"preset": "ultrafast"}, "vp9": {"deadline": "realtime", "cpu-used": "8"}}
FRAMES = 40  # more than a decoder has surfaces


@pytest.fixture(scope="module", params=CODECS)
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A moving picture, made by PyAV since a machine with a GPU may lack the `ffmpeg` program."""
    path = tmp_path_factory.mktemp("clips") / f"{request.param}.mkv"
    source = av.open("testsrc2=size=640x360:rate=25,noise=alls=8:allf=t", format="lavfi")
    with source, av.open(str(path), "w") as out:
        stream = out.add_stream(CODECS[request.param], rate=25, options=QUICK.get(request.param, {}))
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for index, frame in zip(range(FRAMES), source.decode(video=0), strict=False):
            picture = frame.reformat(format="yuv420p")
            picture.pts, picture.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def pictures_of(reader: FileReader) -> list[tuple[int, Planes]]:
    """Times and planes of a reader's frames, downloaded one by one."""
    found = []
    for frame in reader:
        if isinstance(frame, DeviceFrame):
            found.append((frame.pts, planes_of(planar(downloaded(frame.carrier.frame)))))
        elif isinstance(frame, Frame):
            found.append((frame.pts, tuple(plane.copy() for plane in frame.planes)))
    reader.close()
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("keep", [False, True], ids=["downloaded", "kept"])
def test_the_gpu_decodes_the_frames_of_the_cpu(clip: Path, keep: bool) -> None:
    reader = FileReader(clip, device="cuda")
    assert obstacle_of(reader.source) is None
    if keep:
        reader.keep_on_device()
    ours, theirs = pictures_of(reader), pictures_of(FileReader(clip))
    assert [pts for pts, _ in ours] == [pts for pts, _ in theirs]
    assert len(ours) == FRAMES
    for (_, mine), (_, other) in zip(ours, theirs, strict=True):
        for a, b in zip(mine, other, strict=True):
            np.testing.assert_array_equal(a, b)  # decoders are bit-exact by the codecs' standards


def test_frames_on_the_gpu_have_addresses_in_its_memory(clip: Path) -> None:
    from rtdeblur.cuda import open_driver

    driver, reader = open_driver(), FileReader(clip, device="cuda")
    reader.keep_on_device()
    frame = next(frame for frame in reader if isinstance(frame, DeviceFrame))
    luma, chroma = frame.planes
    assert (luma.rows, luma.width, chroma.rows, chroma.width) == (360, 640, 180, 640)
    back = driver.allocate_host(luma.rows * luma.width).reshape(luma.rows, luma.width)
    stream = driver.create_stream()
    driver.synchronize(0)
    driver.download_rows(back, luma, stream)
    driver.synchronize(stream)
    expected = planes_of(planar(downloaded(frame.carrier.frame)))[0]
    np.testing.assert_array_equal(back, expected)
    driver.destroy_stream(stream)
    driver.free_host(back)
    del frame
    reader.close()
    driver.close()


def test_decoding_is_automatic_only_if_frames_can_stay_on_the_gpu(clip: Path) -> None:
    reader, obstacle = open_reader(clip, Wanted())
    assert (obstacle is None) == (reader.source.device == "cuda")
    reader.close()
