"""Restored frames are improved with their neighbours, wherever batches are cut, and nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from fake_media import FakeSink
from numpy.typing import NDArray

from rtdeblur.backends.base import Backend
from rtdeblur.backends.bundled import BundledGraph
from rtdeblur.backends.fusion import Fusion
from rtdeblur.backends.identity import IdentityBackend
from rtdeblur.deblurrer import Deblurrer
from rtdeblur.errors import UsageError
from rtdeblur.frames import Colour, Frame, FrameBatch, Interlude, VideoInfo
from rtdeblur.model import Manifest, Model
from rtdeblur.pipeline import Pipeline
from rtdeblur.temporal import TemporalBackend, with_temporal

MODEL = Model(Manifest(1, "a test's", "0" * 64, {}, 16, "fp32", "off", "MIT"), b"graph", None)  # type: ignore[arg-type]
YUV420 = Colour("bt709", False, 8)


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile each size once for all tests."""

    def kept(graph: BundledGraph, shapes: Any) -> Any:
        key = (graph.sha256, shapes)
        if key not in _compiled:
            _compiled[key] = _compile(graph, shapes)
        return _compiled[key]

    monkeypatch.setattr(BundledGraph, "_compile", kept)


_compiled: dict[tuple[Any, ...], Any] = {}
_compile = BundledGraph._compile


def temporal(inner: Backend, passes: int = 1) -> Backend:
    fusion = Fusion()
    for _ in range(passes):
        inner = TemporalBackend(inner, fusion)
    return inner


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.float64]:
    """Smooth random texture, from 40 to 215."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft2(rng.normal(size=(height, width)))
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    texture = np.fft.irfft2(spectrum / (0.02 + np.hypot(y, x)) ** 1.2, (height, width))
    low, high = np.percentile(texture, (1, 99))
    return np.clip(40 + 175 * (texture - low) / (high - low), 40, 215)


class Noisy(IdentityBackend):
    """A restorer whose errors differ from frame to frame: noise, drawn from a frame's carrier."""

    def __init__(self, sigma: float = 8.0) -> None:
        self.sigma = sigma
        self.sizes: list[int] = []

    def infer(self, batch: FrameBatch) -> FrameBatch:
        self.sizes.append(len(batch))
        y, peak = batch.planes[0].copy(), batch.colour.peak
        for i, carrier in enumerate(batch.carriers):
            noise = np.random.default_rng(carrier).normal(0, self.sigma * peak / 255, y[i].shape)
            y[i] = np.clip(np.rint(y[i] + noise), 0, peak)
        return replace(batch, planes=(y, *batch.planes[1:]))


class Panning:
    """Source of frames that move by 5 and 2 pixels each, with chroma that moves along.

    Args:
        count: number of frames.
        size: height and width.
        chroma: pixels of luma per pixel of chroma, down and across.
        colour: matrix, range and depth.
        step: time between frames in seconds.
        gaps: indices of frames that an interlude follows.
        cut_at: index of the first frame of another scene.
    """

    def __init__(
        self,
        count: int,
        *,
        size: tuple[int, int] = (96, 160),
        chroma: tuple[int, int] = (2, 2),
        colour: Colour = YUV420,
        step: Fraction = Fraction(1, 25),
        gaps: tuple[int, ...] = (),
        cut_at: int = 10**9,
    ) -> None:
        self.count, self.size, self.chroma, self.colour = count, size, chroma, colour
        self.step, self.gaps, self.cut_at = step, gaps, cut_at
        scenes = [picture(size[0] + 2 * count, size[1] + 5 * count, seed) for seed in (0, 1)]
        self.info = VideoInfo(*size, "yuv420p", 1 / step, count * float(step), count)
        self.frames = [self._frame(scenes[i >= cut_at], i) for i in range(count)]

    def _frame(self, scene: NDArray[np.float64], i: int) -> Frame:
        height, width = self.size
        dtype = np.uint8 if self.colour.bit_depth == 8 else np.uint16
        values = scene[2 * i : 2 * i + height, 5 * i : 5 * i + width] * self.colour.peak / 255
        y = np.ascontiguousarray(np.rint(values).astype(dtype))
        down, across = self.chroma
        u = np.ascontiguousarray(y[::down, ::across]) if down else np.full((1, 1), 128, dtype)
        return Frame((y, u, u.copy()), i, self.step, self.colour, i)

    def __iter__(self) -> Iterator[Frame | Interlude]:
        for i, frame in enumerate(self.frames):
            yield frame
            if i in self.gaps:
                yield Interlude("sound")

    def close(self) -> None:
        return


def restored(source: Panning, backend: Backend, batch: int = 4, **sink: Any) -> list[Any]:
    """Return the planes of each frame."""
    into = FakeSink(**sink)
    Pipeline(source, backend, into, batch_size=batch).run()
    batches = [item for item in into.batches if isinstance(item, FrameBatch)]
    return [frame.planes for item in batches for frame in item.frames()]


def error(planes: list[Any], source: Panning) -> NDArray[np.float64]:
    """Mean squared error of each frame's luma, without its border."""
    pairs = zip(planes, source.frames, strict=True)
    inner = (slice(16, -16), slice(16, -16))
    return np.array([np.square(a[0][inner] - b.planes[0][inner].astype(float)).mean() for a, b in pairs])


def equal(one: Any, other: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_neighbours_take_away_a_part_of_the_error() -> None:
    source = Panning(9)
    alone, fused = (error(restored(source, b), source) for b in (Noisy(), temporal(Noisy())))
    assert (fused[1:-1] < 0.85 * alone[1:-1]).all()  # two neighbours
    assert (fused[[0, -1]] < 0.95 * alone[[0, -1]]).all()  # one


@pytest.mark.parametrize(
    ("colour", "chroma", "size"),
    [
        (Colour("bt709", False, 10), (2, 2), (96, 160)),
        (Colour("bt709", False, 16), (1, 1), (96, 160)),
        (YUV420, (1, 2), (97, 163)),
        (YUV420, (0, 0), (98, 161)),  # grey
        (Colour("rgb", True, 8), (1, 1), (97, 162)),
    ],
)
def test_every_layout_keeps_its_shape_and_is_improved(
    colour: Colour, chroma: tuple[int, int], size: tuple[int, int]
) -> None:
    source = Panning(5, size=size, chroma=chroma, colour=colour)
    alone, fused = (restored(source, b) for b in (Noisy(), temporal(Noisy())))
    assert [[(p.shape, p.dtype) for p in planes] for planes in fused] == [
        [(p.shape, p.dtype) for p in frame.planes] for frame in source.frames
    ]
    assert (error(fused, source)[1:-1] < 0.85 * error(alone, source)[1:-1]).all()
    chroma_error = max(
        float(np.abs(a[1].astype(float) - frame.planes[1]).mean() / colour.peak)
        for a, frame in zip(fused, source.frames, strict=True)
    )
    assert chroma_error < 0.02  # the model left chroma unchanged, and it moves along with luma


@pytest.mark.parametrize("passes", [1, 2])
def test_the_result_does_not_depend_on_where_batches_are_cut(passes: int) -> None:
    source = Panning(11)
    whole = restored(source, temporal(Noisy(), passes), batch=11)
    for batch in (1, 2, 4):
        assert all(map(equal, restored(source, temporal(Noisy(), passes), batch=batch), whole))


@pytest.mark.parametrize(("passes", "batch", "count"), [(1, 4, 5), (2, 4, 5), (2, 1, 16)])
def test_a_resumed_run_has_the_frames_of_a_whole_one_and_restores_only_what_they_need(
    passes: int, batch: int, count: int
) -> None:
    source = Panning(24)
    whole = restored(source, temporal(Noisy(), passes))
    inner = Noisy()
    rest = restored(source, temporal(inner, passes), batch=batch, finished=range(4, 16))
    assert all(equal(rest[i], whole[i]) for i in (*range(4), *range(16, 24)))
    assert len(inner.sizes) == count  # not what is finished and affects nothing else
    assert equal(rest[9], source.frames[9].planes)


def test_a_second_pass_takes_away_more_error() -> None:
    source = Panning(9)
    once, twice = (error(restored(source, temporal(Noisy(), passes)), source) for passes in (1, 2))
    assert (twice[2:-2] < 0.95 * once[2:-2]).all()


def test_a_frame_before_a_gap_does_not_wait_for_the_next_one() -> None:
    """Its packets could not be written; so it has no neighbour after it, but the next one has it."""
    source, gap = Panning(8), Panning(8, gaps=(3,))
    whole, split = (restored(each, temporal(Noisy())) for each in (source, gap))
    source.frames = source.frames[:4]
    alone = restored(source, temporal(Noisy()))
    assert [equal(a, b) for a, b in zip(split, whole, strict=True)] == [True] * 3 + [False] + [True] * 4
    assert equal(split[3], alone[3])


@pytest.mark.parametrize("step", [Fraction(0), Fraction(1, 3)])
def test_pictures_that_do_not_follow_each_other_stay_as_they_were_restored(step: Fraction) -> None:
    source = Panning(5, step=step or Fraction(1, 25))
    if not step:
        source.frames = [replace(frame, pts=0) for frame in source.frames]
    assert all(map(equal, restored(source, temporal(Noisy())), restored(source, Noisy())))


def test_another_scene_is_not_mixed_in() -> None:
    source = Panning(8, cut_at=4)
    alone, fused = (error(restored(source, b), source) for b in (Noisy(4), temporal(Noisy(4))))
    assert (fused[[3, 4]] < 1.1 * alone[[3, 4]]).all()


class Partly(Noisy):
    """Changes the left third only."""

    def infer(self, batch: FrameBatch) -> FrameBatch:
        changed = super().infer(batch)
        y = batch.planes[0].copy()
        y[..., : y.shape[3] // 3] = changed.planes[0][..., : y.shape[3] // 3]
        return replace(batch, planes=(y, *batch.planes[1:]))


def test_what_the_model_left_unchanged_stays_unchanged() -> None:
    source = Panning(6, size=(96, 192))
    partly, fused = (restored(source, b) for b in (Partly(), temporal(Partly())))
    for own, result, frame in zip(partly, fused, source.frames, strict=True):
        assert all((a[:, 64 * a.shape[1] // 192 :] == b[:, 64 * a.shape[1] // 192 :]).all()
                   for a, b in zip(result, frame.planes, strict=True))  # fmt: skip
        assert not (result[0] == own[0]).all()
    nothing = restored(source, temporal(IdentityBackend()))
    assert all(equal(a, frame.planes) for a, frame in zip(nothing, source.frames, strict=True))


class Spotted(Noisy):
    """Changes a spot of 90 × 90 at 300, 420 only, and a block in the last corner if told so."""

    def __init__(self, corner: bool = False) -> None:
        super().__init__()
        self.corner = corner

    def infer(self, batch: FrameBatch) -> FrameBatch:
        changed = super().infer(batch)
        y = batch.planes[0].copy()
        spots = [(slice(300, 390), slice(420, 510)), *([(slice(-20, None), slice(-20, None))] * self.corner)]
        for rows, columns in spots:
            y[..., rows, columns] = changed.planes[0][..., rows, columns]
        return replace(batch, planes=(y, *batch.planes[1:]))


@pytest.mark.parametrize("corner", [False, True])
@pytest.mark.parametrize(
    ("colour", "chroma", "size"),
    [
        (YUV420, (2, 2), (720, 1000)),
        (Colour("rgb", True, 8), (1, 1), (646, 930)),
        (YUV420, (0, 0), (646, 930)),
    ],
)
def test_only_windows_around_what_has_changed_are_fused(
    colour: Colour,
    chroma: tuple[int, int],
    size: tuple[int, int],
    corner: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pixels: list[int] = []
    real = BundledGraph.run

    def counted(graph: BundledGraph, feeds: Any) -> Any:
        given = list(feeds)
        pixels.extend(feed["luma"][0].size for feed in given if "luma" in feed)
        return real(graph, given)

    monkeypatch.setattr(BundledGraph, "run", counted)
    source = Panning(4, size=size, chroma=chroma, colour=colour)
    parts = restored(source, temporal(Spotted(corner), 2))
    if chroma[0]:
        assert set(pixels) == {384 * 384}
        assert len(pixels) == 8 * (1 + corner)
    else:  # a chroma sample of all pixels
        assert set(pixels) == {648 * 932}
    monkeypatch.setattr("rtdeblur.backends.fusion.cheapest_windows", lambda mask, size, shapes: (size, None))
    whole = restored(source, temporal(Spotted(corner), 2))
    for part, full, frame in zip(parts, whole, source.frames, strict=True):
        for a, b, given in zip(part, full, frame.planes, strict=True):
            difference = np.abs(a.astype(int) - b)
            assert difference.mean() < 0.01  # motion at a window's edge is another
            assert ((a == given) == (b == given)).mean() > 0.99
    alone = restored(source, Spotted(corner))
    spot = (slice(300, 390), slice(420, 510))
    for part, own, frame in list(zip(parts, alone, source.frames, strict=True))[1:-1]:
        errors = [np.square(y[0][spot] - frame.planes[0][spot].astype(float)).mean() for y in (part, own)]
        assert errors[0] < 0.8 * errors[1]


def test_a_change_of_size_ends_the_neighbourhood() -> None:
    source = Panning(4)
    others = Panning(4, size=(64, 96)).frames
    source.frames += [replace(frame, pts=frame.pts + 4, carrier=frame.carrier + 4) for frame in others]
    fused = restored(source, temporal(Noisy()))
    assert all(map(equal, fused[:4], restored(Panning(4), temporal(Noisy()))))


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("slots", [1, 2, 4])
def test_a_backend_with_one_slot_is_enough(slots: int, passes: int) -> None:
    class Strict(Noisy):
        flying = 0

        def submit(self, batch: FrameBatch) -> Any:
            self.flying += 1
            assert self.flying <= self.slots

            def landed() -> FrameBatch:
                self.flying -= 1
                return self.infer(batch)

            return landed

    inner = Strict()
    inner.slots = slots
    assert len(restored(Panning(9), temporal(inner, passes), batch=2)) == 9


def test_auto_is_on_for_a_model_on_the_cpu() -> None:
    cpu, gpu = Noisy(), Noisy()
    gpu.device = "NVIDIA RTX"
    assert isinstance(with_temporal(cpu, MODEL, "auto"), TemporalBackend)
    assert with_temporal(gpu, MODEL, "auto") is gpu
    assert isinstance(with_temporal(gpu, MODEL, "on"), TemporalBackend)
    assert with_temporal(cpu, MODEL, "off") is cpu
    assert with_temporal(cpu, Model.load("identity"), "on") is cpu


@pytest.mark.parametrize("batch", [1, 4])
def test_a_stream_with_a_rate_has_neighbours(batch: int) -> None:
    frames = [np.repeat(frame.planes[0][..., None], 3, axis=2) for frame in Panning(7).frames]
    with Deblurrer("fast", precision="fp32", gate="off") as deblurrer:
        alone = list(deblurrer.stream(frames))
        fused = list(deblurrer.stream(frames, batch=batch, rate=25))
        assert all(map(np.array_equal, deblurrer.restore(np.stack(frames)), alone))
        assert all(map(np.array_equal, deblurrer.stream(frames, rate=2), alone))  # too far apart
        with pytest.raises(ValueError, match="rate is 0, expected a positive number"):
            next(deblurrer.stream(frames, rate=0))
    assert not any(map(np.array_equal, fused, alone))
    with Deblurrer("fast", precision="fp32", gate="off", temporal="off") as deblurrer:
        assert all(map(np.array_equal, deblurrer.stream(frames, rate=25), alone))


def test_another_choice_is_refused_before_anything_is_opened() -> None:
    with pytest.raises(UsageError, match="temporal is 'yes', expected auto, on, off"):
        Deblurrer(temporal="yes")  # type: ignore[arg-type]


def test_the_stage_is_part_of_what_identifies_a_job() -> None:
    inner = Noisy()
    fused = with_temporal(inner, MODEL, "on")
    assert fused.fingerprint["temporal"] == "on"
    assert len(fused.fingerprint["temporal graph"]) == 64
    assert fused.description == f"{inner.description}, temporal"
    assert (fused.reach, inner.reach, fused.slots) == (2, 0, 3)
