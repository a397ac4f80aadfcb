"""A preview: samples of the whole file, the most blurred of them, the estimate."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from rtdeblur import preview
from rtdeblur.backends import open_backend
from rtdeblur.backends.identity import IdentityBackend
from rtdeblur.cli import main
from rtdeblur.errors import InputError
from rtdeblur.frames import Frame, FrameBatch
from rtdeblur.gpu_path import Wanted, open_reader
from rtdeblur.media.reader import FileReader
from rtdeblur.model import Model
from rtdeblur.preview import SAMPLES, Sample, look, most_blurred, samples
from rtdeblur.temporal import with_temporal


def write(path: Path, blurred: range, frames: int = 120, *, gop: int = 30, turned: bool = False) -> Path:
    """A still scene, smeared by 11 pixels in the frames of a range."""
    rng = np.random.default_rng(0)
    sharp = rng.uniform(40, 215, (10, 14)).repeat(12, 0).repeat(12, 1) + rng.normal(0, 4, (120, 168))
    soft = np.mean([np.roll(sharp, i, 1) for i in range(11)], axis=0)
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25, width=168, height=120, pix_fmt="yuv420p")
        if turned:
            video.set_display_matrix((0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30))
        video.options = {"g": str(gop), "bf": "0", "crf": "16"}
        for index in range(frames):
            picture = (soft if index in blurred else sharp).clip(0, 255).astype(np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, "gray").reformat(format="yuv420p")))
        out.mux(video.encode(None))
    return path


def taken(path: Path) -> list[Sample]:
    with FileReader(path) as reader:
        info = reader.info
    return list(samples(path, info))


@pytest.fixture(params=["read through", "sought"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "sought":
        monkeypatch.setattr(preview, "_READ_THROUGH", 0)
    return str(request.param)


def test_samples_cover_the_whole_file(way: str, tmp_path: Path) -> None:
    found = taken(write(tmp_path / "in.mp4", range(50, 70)))
    assert SAMPLES <= len(found) <= SAMPLES + 1
    seconds = [sample.seconds for sample in found]
    assert np.diff(seconds) == pytest.approx(4.8 / SAMPLES, abs=0.05)
    assert seconds[0] < 0.2
    assert seconds[-1] > 4.6
    blurred = [sample.seconds for sample in found if sample.blur > 0.5]
    assert 1.9 < min(blurred) < 2.3
    assert 2.4 < max(blurred) < 2.9
    assert len(blurred) == pytest.approx(20 / 120 * SAMPLES, abs=1.1)


def test_the_most_blurred_moments_are_chosen_in_order_of_time(way: str, tmp_path: Path) -> None:
    seen = look(write(tmp_path / "in.mp4", range(50, 70)), IdentityBackend(), moments=2)
    times = [moment.before.seconds for moment in seen.moments]
    assert times == sorted(times)
    assert all(1.9 < seconds < 2.9 for seconds in times)
    assert [moment.change for moment in seen.moments] == [0, 0]  # identity


class Recording(IdentityBackend):
    """Notes the times of what it restores; two frames on either side affect a frame."""

    reach = 2

    def __init__(self) -> None:
        super().__init__()
        self.restored: list[tuple[Fraction, ...]] = []

    def infer(self, batch: FrameBatch) -> FrameBatch:
        self.restored.append(tuple(pts * batch.time_base for pts in batch.pts))
        return super().infer(batch)


def test_moments_are_restored_between_their_neighbours(way: str, tmp_path: Path) -> None:
    path, backend = write(tmp_path / "in.mp4", range(60)), Recording()
    with FileReader(path) as reader:
        info = reader.info
    chosen = [sample for sample in samples(path, info) if sample.blur > 0.5][::4]
    look(path, backend, moments=len(taken(path)))
    windows = backend.restored[: len(taken(path))]
    assert len(chosen) > 2
    for sample in chosen:
        (window,) = (
            one for one in windows if len(one) > 2 and sample.frame.pts * sample.frame.time_base == one[2]
        )
        assert [time - window[2] for time in window] == [Fraction(n, 25) for n in range(-2, 3)]


def test_moments_look_as_in_a_restored_file(tmp_path: Path) -> None:
    """The first and last frames, too, which have fewer neighbours."""
    path, output = write(tmp_path / "in.mkv", range(7), 7), tmp_path / "out.mkv"
    assert (
        main([str(path), "-o", str(output), "--precision", "fp32", "--gate", "off", "--codec", "ffv1"]) == 0
    )
    model = Model.load("fast")
    with with_temporal(open_backend("openvino", model, precision="fp32"), model, "on") as backend:
        seen = look(path, backend, moments=7)
    with FileReader(output) as reader:
        restored = {frame.pts: frame for frame in reader if isinstance(frame, Frame)}
    for moment in seen.moments:
        frame = moment.after.frame
        assert (frame.planes[0] == restored[frame.pts].planes[0]).all()
    assert len(seen.moments) == len(restored) == 7


@pytest.mark.parametrize(
    ("blurs", "count", "chosen"),
    [
        ([0.1, 0.9, 0.8, 0.2, 0.7], 2, [1, 4]),  # 2 is next to 1
        ([0.9, 0.8, 0.1], 2, [0, 2]),
        ([0.9, 0.8], 2, [0, 1]),
        ([0.9], 4, [0]),
        ([], 4, []),
    ],
)
def test_neighbouring_moments_are_chosen_last(blurs: list[float], count: int, chosen: list[int]) -> None:
    given = [Sample(float(index), None, blur) for index, blur in enumerate(blurs)]  # type: ignore[arg-type]
    assert [int(sample.seconds) for sample in most_blurred(given, count)] == chosen


def test_the_estimate_is_close_to_a_real_run(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    """Size within 40 %: sections are short, and each starts with a key frame."""
    source = make_clip(".mp4", frames=200, size="320x240")
    seen = look(source, IdentityBackend())
    assert seen.estimate is not None
    output = tmp_path / "out.mp4"
    assert main([str(source), "-o", str(output), "--model", "identity", "-q"]) == 0
    assert seen.estimate.frames == 200
    assert seen.estimate.size_bytes == pytest.approx(output.stat().st_size, rel=0.4)
    assert seen.estimate.seconds == pytest.approx(200 / seen.estimate.fps)


def test_sound_longer_than_the_video_leaves_only_the_estimate_out(
    tmp_path: Path, ffmpeg: Callable[..., bytes]
) -> None:
    source = tmp_path / "in.mkv"
    video, sound = "testsrc2=s=64x48:r=25:d=1", "sine=d=20"
    ffmpeg("-f", "lavfi", "-i", video, "-f", "lavfi", "-i", sound, "-c:a", "flac", source)
    seen = look(source, IdentityBackend())
    assert seen.moments
    assert seen.estimate is None


def test_every_part_of_the_file_is_opened_with_the_same_limit(
    tmp_path: Path, make_clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[dict[str, Any]] = []

    def noted(path: Path, wanted: Wanted, **options: Any) -> Any:
        opened.append(options)
        return open_reader(path, wanted, **options)

    monkeypatch.setattr(preview, "open_reader", noted)
    look(make_clip(".mp4"), IdentityBackend(), max_pixels=99_999)
    assert {options["max_pixels"] for options in opened} == {99_999}


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_a_video_of_few_frames_is_sampled(tmp_path: Path, frames: int) -> None:
    seen = look(write(tmp_path / "in.mp4", range(0), frames), IdentityBackend(), moments=4)
    assert len(seen.moments) == min(4, frames)
    assert seen.estimate is not None
    assert seen.estimate.frames == frames


def test_pictures_are_upright_and_of_limited_size(tmp_path: Path, ffmpeg: Callable[..., bytes]) -> None:
    wide = tmp_path / "wide.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=2400x120:r=5:d=1", wide)
    turned = write(tmp_path / "turned.mp4", range(0), 10, turned=True)
    assert taken(wide)[0].picture.shape == (96, 1920, 3)
    assert taken(turned)[0].picture.shape == (168, 120, 3)


def test_an_input_without_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.mp4").write_bytes(b"no video")
    with pytest.raises(InputError):
        look(tmp_path / "in.mp4", IdentityBackend())
