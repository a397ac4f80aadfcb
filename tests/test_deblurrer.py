"""Restoration from Python: arrays, streams, files, messages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

import rtdeblur
from rtdeblur import Deblurrer, FileReader, RtdeblurError, UsageError


@pytest.fixture(scope="module")
def deblurrer() -> Iterator[Deblurrer]:
    with Deblurrer() as opened:
        yield opened


def scene(height: int = 48, width: int = 64, *, seed: int = 0) -> NDArray[np.uint8]:
    """Coloured blocks, blurred horizontally by 5 pixels."""
    rng = np.random.default_rng(seed)
    blocks = rng.uniform(20, 235, (-(-height // 8), -(-width // 8), 3))
    sharp = blocks.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    return np.mean([np.roll(sharp, shift, axis=1) for shift in range(5)], axis=0).astype(np.uint8)


def as_dtype(picture: NDArray[np.uint8], dtype: str) -> NDArray[np.generic]:
    if np.dtype(dtype).kind == "f":
        return (picture / 255).astype(dtype)
    return (picture.astype(np.uint16) * 257).astype(dtype) if dtype.endswith("2") else picture


DTYPES = ["u1", "u2", ">u2", "f2", "f4", "f8"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ["HWC", "NHWC"])
def test_an_array_comes_back_restored_in_its_shape_and_dtype(
    deblurrer: Deblurrer, dtype: str, shape: str
) -> None:
    array = as_dtype(scene(), dtype)
    array = array if shape == "HWC" else np.stack([array] * 3)
    given = array.copy()
    restored = deblurrer.restore(array)
    assert (restored.shape, restored.dtype) == (array.shape, array.dtype)
    np.testing.assert_array_equal(array, given)  # the input is not written to
    step = 1.0 if np.dtype(dtype).kind == "f" else {1: 255, 2: 65535}[array.dtype.itemsize]
    change = np.abs(restored.astype(float) - array.astype(float)) / step
    assert 0.005 < change.mean() < 0.1


def test_all_dtypes_are_restored_alike() -> None:
    with Deblurrer(precision="fp32") as deblurrer:
        results = {dtype: deblurrer.restore(as_dtype(scene(), dtype)).astype(float) for dtype in DTYPES}
    for dtype, restored in results.items():
        scale = {"u1": 255, "u2": 65535, ">u2": 65535}.get(dtype, 1)
        # Half a step of 8 bits, for the rounding of that path.
        assert np.abs(restored / scale - results["f8"]).max() < 0.51 / 255, dtype


def test_colours_keep_their_places(deblurrer: Deblurrer) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[..., 0], picture[..., 1], picture[..., 2] = 200, 120, 40
    means = deblurrer.restore(picture).mean((0, 1))
    np.testing.assert_allclose(means, [200, 120, 40], atol=3)


def test_a_stack_is_restored_as_its_pictures_are(deblurrer: Deblurrer) -> None:
    stack = np.stack([scene(seed=seed) for seed in range(6)])
    for restored, picture in zip(deblurrer.restore(stack), stack, strict=True):
        np.testing.assert_array_equal(restored, deblurrer.restore(picture))


def test_views_read_only_arrays_and_empty_stacks_are_accepted(deblurrer: Deblurrer) -> None:
    picture = scene()
    expected = deblurrer.restore(picture)
    np.testing.assert_array_equal(deblurrer.restore(picture[:, ::-1][:, ::-1]), expected)
    np.testing.assert_array_equal(deblurrer.restore(np.asfortranarray(picture)), expected)
    frozen = picture.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(deblurrer.restore(frozen), expected)
    assert deblurrer.restore(picture[None][:0]).shape == (0, 48, 64, 3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_strength_zero_returns_the_input_bit_for_bit(dtype: str) -> None:
    array = as_dtype(scene(), dtype)
    if array.dtype.kind == "f":
        array[0, 0] = -0.0, 1e-7, 1.0
    restored = rtdeblur.restore(array, strength=0)
    assert restored.tobytes() == array.tobytes()
    assert restored is not array


def test_strength_scales_the_change(deblurrer: Deblurrer) -> None:
    picture = scene().astype(np.float64) / 255
    full = deblurrer.restore(picture) - picture
    deblurrer.strength = 0.5
    try:
        half = deblurrer.restore(picture) - picture
    finally:
        deblurrer.strength = 1
    # Both are rounded to steps of 1/65535.
    np.testing.assert_allclose(half, full / 2, atol=2 / 65535)


def test_frames_stream_in_order_whatever_their_size(deblurrer: Deblurrer) -> None:
    frames = [scene(48, 64, seed=i) if i % 5 < 3 else scene(40, 56, seed=i) for i in range(11)]
    restored = list(deblurrer.stream(iter(frames)))
    assert [frame.shape for frame in restored] == [frame.shape for frame in frames]
    for frame, given in zip(restored, frames, strict=True):
        np.testing.assert_array_equal(frame, deblurrer.restore(given))


def test_a_stream_of_batch_one_returns_each_frame_before_it_takes_the_next(deblurrer: Deblurrer) -> None:
    taken = 0

    def camera() -> Iterator[NDArray[np.uint8]]:
        nonlocal taken
        while True:
            taken += 1
            yield scene(seed=taken)

    restored = deblurrer.stream(camera(), batch=1)
    for count in (1, 2, 3):
        next(restored)
        assert taken == count


@pytest.mark.parametrize(
    ("array", "error", "says"),
    [
        (np.zeros((9, 9), np.uint8), ValueError, r"shape \(9, 9\), expected \(H, W, 3\).*repeat"),
        (np.zeros((9, 9, 1), np.uint8), ValueError, r"shape \(9, 9, 1\).*np.repeat\(array, 3"),
        (np.zeros((9, 9, 4), np.uint8), ValueError, r"\[\.\.\., :3\]"),
        (np.zeros((3, 9, 9), np.uint8), ValueError, "channels last"),
        (np.zeros((2, 3, 9, 9), np.uint8), ValueError, "channels last"),
        ("photo.jpg", ValueError, "restore_file"),
        (np.zeros((1, 1, 9, 9, 3), np.uint8), ValueError, "shape"),
        (np.zeros((0, 9, 3), np.uint8), ValueError, "1 pixel"),
        (np.zeros((9, 9, 3), np.int64), TypeError, "int64, expected uint8, uint16"),
        (np.zeros((9, 9, 3), bool), TypeError, "bool"),
        (np.zeros((9, 9, 3), complex), TypeError, "complex"),
        ([[["a", "b", "c"]]], TypeError, "<U1"),
        (np.full((9, 9, 3), 255.0), ValueError, "from 255 to 255, expected 0 to 1; divide"),
        (np.full((9, 9, 3), -0.5), ValueError, "from -0.5"),
        (np.full((9, 9, 3), np.nan), ValueError, "nan"),
        (np.full((9, 9, 3), np.inf), ValueError, "inf"),
    ],
)
def test_arrays_that_are_not_pictures_are_refused(
    deblurrer: Deblurrer, array: NDArray[np.uint8], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        deblurrer.restore(array)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": "nothing_such"}, "no model is called 'nothing_such'"),
        ({"strength": 3}, "strength is 3, expected 0"),
        ({"backend": "abacus"}, "abacus"),
        ({"precision": "fp8"}, "fp8"),
        ({"dropout": "paper"}, "dropout='off'"),
        ({"seed": -1}, "seed is -1, expected an integer, 0 or more"),
        ({"model": "identity", "gate": 0.5}, "gate='off'"),
    ],
)
def test_options_that_do_not_work_are_named_as_arguments(options: dict[str, object], says: str) -> None:
    with pytest.raises(RtdeblurError) as caught:
        rtdeblur.restore(scene(), **options)  # type: ignore[arg-type]
    assert says in str(caught.value)
    assert "--" not in str(caught.value)


def test_an_unknown_option_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="modle"):
        rtdeblur.restore(scene(), modle="fast")  # type: ignore[call-arg]


def test_a_frame_too_small_for_the_model_is_reported_in_python_terms(deblurrer: Deblurrer) -> None:
    with pytest.raises(RtdeblurError, match=r"4×4 is too small.*model='identity'"):
        deblurrer.restore(np.zeros((4, 4, 3), np.uint8))


def test_a_single_picture_as_a_stream_is_refused_with_advice(deblurrer: Deblurrer) -> None:
    with pytest.raises(ValueError, match=r"shape \(64, 3\).*a single picture in a list"):
        list(deblurrer.stream(scene()))


@pytest.mark.parametrize("batch", [1, 4])
def test_frames_before_a_failure_are_restored_first(deblurrer: Deblurrer, batch: int) -> None:
    frames = [scene(seed=seed) for seed in range(6)]
    restored: list[NDArray[np.uint8]] = []

    def camera() -> Iterator[NDArray[np.uint8]]:
        yield from frames
        raise OSError("unplugged")

    with pytest.raises(OSError, match="unplugged"):
        restored.extend(deblurrer.stream(camera(), batch=batch))
    assert len(restored) == len(frames)
    np.testing.assert_array_equal(restored[-1], deblurrer.restore(frames[-1]))


def test_a_call_during_a_stream_is_answered_and_ends_the_stream_with_advice(deblurrer: Deblurrer) -> None:
    expected = deblurrer.restore(scene())
    stream = deblurrer.stream([scene(seed=seed) for seed in range(20)])
    next(stream)
    np.testing.assert_array_equal(deblurrer.restore(scene()), expected)
    with pytest.raises(UsageError, match="one Deblurrer per stream"):
        list(stream)


def test_threads_take_turns(deblurrer: Deblurrer) -> None:
    pictures = [scene(seed=seed) for seed in range(12)]
    expected = [deblurrer.restore(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as threads:
        for restored, wanted in zip(threads.map(deblurrer.restore, pictures), expected, strict=True):
            np.testing.assert_array_equal(restored, wanted)


@pytest.mark.parametrize("batch", [1, 4])
def test_an_error_of_the_frames_comes_out_unchanged(deblurrer: Deblurrer, batch: int) -> None:
    error = RtdeblurError("the camera is gone; try --device gpu or --start 3")

    def camera() -> Iterator[NDArray[np.uint8]]:
        yield scene()
        raise error

    with pytest.raises(RtdeblurError) as caught:
        list(deblurrer.stream(camera(), batch=batch))
    assert caught.value is error
    assert str(error) == "the camera is gone; try --device gpu or --start 3"


def test_the_model_identity_changes_nothing() -> None:
    np.testing.assert_array_equal(rtdeblur.restore(scene(), model="identity"), scene())


def test_a_closed_deblurrer_says_so() -> None:
    deblurrer = Deblurrer("identity")
    deblurrer.close()
    deblurrer.close()
    with pytest.raises(ValueError, match="closed"):
        deblurrer.restore(scene())


@pytest.fixture(scope="module")
def clip(make_clip: Callable[..., Path]) -> Path:
    return make_clip(".mp4", "-g", "5", frames=10)


def test_a_file_is_restored_with_progress(
    deblurrer: Deblurrer, clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rtdeblur")
    calls: list[tuple[int, int | None]] = []
    stats = deblurrer.restore_file(
        clip, tmp_path / "out.mkv", progress=lambda done, total: calls.append((done, total))
    )
    assert stats.frames == 10
    assert calls == [(1, 10), (5, 10), (9, 10), (10, 10)]
    with closing(FileReader(tmp_path / "out.mkv")) as reader:
        assert sum(1 for _ in reader) == 10
    assert {record.name for record in caplog.records} == {"rtdeblur"}
    assert "encoded by" in caplog.text


def test_an_exception_in_the_progress_callback_stops_the_run(
    deblurrer: Deblurrer, clip: Path, tmp_path: Path
) -> None:
    class StopError(Exception):
        pass

    def progress(done: int, total: int | None) -> None:
        raise StopError

    with pytest.raises(StopError):
        deblurrer.restore_file(clip, tmp_path / "out.mp4", progress=progress)
    assert list(tmp_path.iterdir()) == []


def test_restore_file_accepts_model_and_file_options(clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    stats = rtdeblur.restore_file(str(clip), str(output), strength=0, codec="ffv1", start=0.1, duration=0.2)
    assert stats.frames == 5
    with pytest.raises(UsageError, match="already exists; overwrite it, or try another name"):
        rtdeblur.restore_file(clip, output, model="identity")
    rtdeblur.restore_file(clip, output, model="identity", overwrite=True)
    with pytest.raises(
        UsageError, match="quality is 'best', expected one of small, balanced, high, lossless"
    ):
        rtdeblur.restore_file(clip, tmp_path / "other.mkv", model="identity", quality="best")  # type: ignore[arg-type]
    sizes = {}
    qualities: tuple[Literal["small", "high"], ...] = ("small", "high")
    for quality in qualities:
        rtdeblur.restore_file(clip, output, model="identity", overwrite=True, quality=quality)
        sizes[quality] = output.stat().st_size
    assert sizes["small"] < sizes["high"]


def test_what_an_output_does_not_keep_is_logged(
    make_clip: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = make_clip(".mkv", "-c:v", "ffv1", "-pix_fmt", "yuva444p")
    rtdeblur.restore_file(source, tmp_path / "out.mp4", model="identity")
    # FFmpeg's own log may add the missing GPU, if no earlier test has looked for one.
    logged = [record for record in caplog.records if record.name == "rtdeblur"]
    assert [record.levelname for record in logged] == ["WARNING"]
    assert "transparency" in logged[0].getMessage()


def test_a_photo_is_restored_like_its_array(deblurrer: Deblurrer, tmp_path: Path) -> None:
    Image = pytest.importorskip("PIL.Image")  # noqa: N806 - a module named like its class
    Image.fromarray(scene()).save(tmp_path / "in.png")
    calls: list[tuple[int, int | None]] = []
    deblurrer.restore_file(
        tmp_path / "in.png", tmp_path / "out.png", progress=lambda done, total: calls.append((done, total))
    )
    with Image.open(tmp_path / "out.png") as image:
        np.testing.assert_array_equal(np.asarray(image), deblurrer.restore(scene()))
    assert calls == [(1, 1)]


@pytest.mark.parametrize("name", ["missing.mp4", "a/b.mp4"])
def test_a_missing_input_is_one_line(deblurrer: Deblurrer, tmp_path: Path, name: str) -> None:
    with pytest.raises(RtdeblurError, match="does not exist"):
        deblurrer.restore_file(tmp_path / name, tmp_path / "out.mp4")
