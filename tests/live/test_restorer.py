import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from rtdeblur.errors import InterruptedRunError, ModelError
from rtdeblur.ffmpeg.scaler import Scaler
from rtdeblur.frames import Colour, Frame
from rtdeblur.live.ladder import Candidate, Governor
from rtdeblur.live.restorer import AUTO, LiveRestorer

BUDGET = 1 / 30
FAST, BIG = Candidate("fast", 8.0, 24.0), Candidate("big", 60.0, 26.0)


@pytest.fixture
def slow(clock, fake):
    """A backend that takes 100 ms for 640×360 on the fake clock, and in proportion for less."""
    backend = fake.backend(lambda shape: 0.1 * shape[0] * shape[1] / (360 * 640))
    backend.sleep = clock.advance
    return backend


def test_auto_lowers_the_resolution_if_the_model_is_too_slow(clock, fake, slow) -> None:
    restorer = LiveRestorer([AUTO], [Candidate("fast", 8.0, 24.0)], lambda name: slow, clock)
    for i in range(30):
        clock.advance(BUDGET)
        restored = restorer.restore(fake.picture(i, 360, 640), BUDGET)
        assert restored.planes[0].shape == (360, 640)
        assert (restored.planes[0] == 101).all()  # the change arrives in full
    assert restorer.working_size == (180, 320)
    assert restorer.label == "fast (auto)"


def test_a_single_huge_frame_is_restored_at_a_lower_resolution(clock, fake, slow) -> None:
    restorer = LiveRestorer([AUTO], [Candidate("fast", 8.0, 24.0)], lambda name: slow, clock)
    for i in range(30):
        restorer.restore(fake.picture(i, 360, 640), BUDGET)
    slow.sizes.clear()
    assert restorer.restore(fake.picture(30, 2160, 3840), BUDGET).planes[0].shape == (2160, 3840)
    restorer.restore(fake.picture(31, 360, 640), BUDGET)
    assert slow.sizes == [(270, 480), (180, 320)]


def test_a_named_model_works_at_the_size_of_the_picture_however_slow(clock, fake, slow) -> None:
    restorer = LiveRestorer(["fast", AUTO], [Candidate("fast", 8.0, 24.0)], lambda name: slow, clock)
    for i in range(30):
        restorer.restore(fake.picture(i, 360, 640), BUDGET)
    assert restorer.working_size == (360, 640)
    assert restorer.label == "fast"


def test_the_choices_cycle_and_each_backend_is_opened_once(fake, clock) -> None:
    opened = []

    def open_backend(name: str):
        opened.append((name, fake.backend()))
        return opened[-1][1]

    restorer = LiveRestorer(["fast", AUTO, "identity"], [Candidate("fast", 8.0, 24.0)], open_backend, clock)
    restorer.start()
    for label in ["fast", "fast (auto)", "identity"] * 2:
        restore_until(restorer, fake.picture(), clock, lambda label=label: restorer.label == label)
        restorer.next_choice()
    assert [name for name, _ in opened] == ["fast", "identity"]
    restorer.close()
    assert all(backend.closed for _, backend in opened)


def test_a_missing_model_fails_at_the_start(clock) -> None:
    def refuse(name: str):
        raise ModelError(f"no model is called {name!r}")

    with pytest.raises(ModelError, match="no model is called 'slow'"):
        LiveRestorer(["slow"], [], refuse, clock).start()


class Opening:
    """Opens backends: that of `big` waits for `gate`, and is `big` or raises `error`."""

    def __init__(self, fake, clock) -> None:
        self.fast, self.big = fake.backend(), fake.backend()
        self.fast.sleep = self.big.sleep = clock.advance
        self.gate, self.error = threading.Event(), None
        self.names: list[str] = []

    def __call__(self, name: str):
        self.names.append(name)
        if name == "fast":
            return self.fast
        assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        return self.big


def restore_until(restorer: LiveRestorer, picture: Frame, clock, done: Callable[[], bool]) -> None:
    """Restore pictures, in real time too, until something happens."""
    deadline = time.monotonic() + 10
    restorer.restore(picture, BUDGET)
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.001)
        clock.advance(BUDGET)
        restorer.restore(picture, BUDGET)


def test_auto_restores_with_the_model_before_while_the_next_one_opens(clock, fake) -> None:
    opening = Opening(fake, clock)
    restorer = LiveRestorer([AUTO], [FAST, BIG], opening, clock)
    picture = fake.picture()
    restorer.start()
    restore_until(restorer, picture, clock, lambda: "big" in opening.names)
    opening.fast.seconds = lambda shape: 3 * BUDGET  # opening takes the processor from the restoration
    for _ in range(1000):
        clock.advance(BUDGET)
        assert (restorer.restore(picture, BUDGET).planes[0] == 101).all()
        assert restorer.label == "fast (auto)"
    opening.gate.set()
    restore_until(restorer, picture, clock, lambda: restorer.label == "big (auto)")
    assert len(opening.big.sizes) == 2  # compiled in the background, then used
    used = len(opening.fast.sizes)
    for _ in range(100):
        clock.advance(BUDGET)
        restorer.restore(picture, BUDGET)
    assert restorer.label == "big (auto)"
    assert (opening.names, len(opening.fast.sizes)) == (["fast", "big"], used)
    restorer.close()
    assert opening.fast.closed
    assert opening.big.closed


def test_a_model_that_slows_down_is_left_a_while_after_it_was_opened(clock, fake) -> None:
    """A step up fails by the time since the model was open, however long that took."""
    opening = Opening(fake, clock)
    opening.big.seconds = lambda shape: 2 * BUDGET
    restorer, picture = LiveRestorer([AUTO], [FAST, BIG], opening, clock), fake.picture()
    restore_until(restorer, picture, clock, lambda: "big" in opening.names)
    clock.advance(600)
    opening.gate.set()
    restore_until(restorer, picture, clock, lambda: restorer.label == "big (auto)")
    restore_until(restorer, picture, clock, lambda: restorer.label == "fast (auto)")
    began = clock()
    restore_until(restorer, picture, clock, lambda: restorer.label == "big (auto)")
    assert clock() - began > 1.9 * Governor.HOLD_SECONDS  # doubled, since the step up failed


def test_a_model_that_cannot_be_opened_in_the_background_is_an_error_of_each_frame(clock, fake) -> None:
    opening = Opening(fake, clock)
    opening.error = ModelError("the model 'big' is damaged")
    restorer, picture = LiveRestorer(["fast", "big"], [FAST, BIG], opening, clock), fake.picture()
    restorer.start()
    restorer.restore(picture, BUDGET)
    restorer.next_choice()
    restorer.restore(picture, BUDGET)
    assert (restorer.choice, restorer.model) == ("big", "fast")
    opening.gate.set()
    with pytest.raises(ModelError, match="damaged"):
        restore_until(restorer, picture, clock, lambda: False)
    for _ in range(3):
        with pytest.raises(ModelError, match="damaged"):
            restorer.restore(picture, BUDGET)
    opening.error = None
    restorer.restore(picture, BUDGET)
    assert restorer.model == "big"


@pytest.mark.parametrize("heeds", [True, False], ids=["heeds the stop", "opens in the end"])
def test_closing_abandons_a_model_that_is_opening(clock, fake, heeds: bool) -> None:
    opening = Opening(fake, clock)

    def open_backend(name: str):
        while name == "big" and not restorer.stopped:
            time.sleep(0.001)
        if name == "big" and heeds:
            raise InterruptedRunError
        opening.gate.set()
        return opening(name)

    restorer = LiveRestorer(["fast", "big"], [FAST, BIG], open_backend, clock)
    restorer.restore(fake.picture(), BUDGET)
    restorer.next_choice()
    restorer.restore(fake.picture(), BUDGET)
    restorer.close()
    assert opening.fast.closed
    assert opening.big.closed is not heeds


@pytest.mark.parametrize(
    ("shape", "chroma", "depth"),
    [((90, 160), (45, 80), 8), ((91, 161), (46, 81), 8), ((90, 160), (90, 80), 10), ((90, 160), (1, 1), 8),
     ((90, 160), (90, 160), 12)],
)  # fmt: skip
def test_unchanged_pixels_stay_bit_for_bit(
    shape: tuple[int, int], chroma: tuple[int, int], depth: int
) -> None:
    random = np.random.default_rng(1)
    colour = Colour(bit_depth=depth)
    dtype = np.uint8 if depth == 8 else np.uint16
    y, u, v = (random.integers(0, colour.peak + 1, s, dtype) for s in (shape, chroma, chroma))
    frame = Frame((y, u, v), 0, BUDGET, colour)
    scaler = Scaler()
    small = scaler.down(frame, (46, 80))
    assert small.planes[0].shape == (46, 80)
    same = scaler.with_change(frame, small, small)
    for plane, before in zip(same.planes, frame.planes, strict=True):
        assert plane.dtype == before.dtype
        assert np.array_equal(plane, before)


def test_only_the_change_is_blurred_by_scaling() -> None:
    """Detail of the picture stays; the change is applied in the right place, and clipped."""
    y = np.indices((120, 160)).sum(0).astype(np.uint8) % 2 * 240  # a chessboard of single pixels
    chroma = np.full((60, 80), 128, np.uint8)
    frame, scaler = Frame((y, chroma, chroma), 0, BUDGET, Colour()), Scaler()
    small = scaler.down(frame, (60, 80))
    changed = small.planes[0].copy()
    changed[:, 40:] += 40
    restored = scaler.with_change(frame, small, Frame((changed, *small.planes[1:]), 0, BUDGET, Colour()))
    assert np.array_equal(restored.planes[0][:, :70], y[:, :70])
    assert set(np.unique(restored.planes[0][:, 90:])) == {40, 255}


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("auto", [False, True], ids=["full size", "preview"])
def test_strength_scales_the_change(clock, fake, slow, strength: float, depth: int, auto: bool) -> None:
    random = np.random.default_rng(2)
    colour, dtype = Colour(bit_depth=depth), np.uint8 if depth == 8 else np.uint16
    planes = tuple(random.integers(0, colour.peak, s, dtype) for s in ((360, 640), (180, 320), (180, 320)))
    frame = Frame(planes, 0, BUDGET, colour)

    def restored(strength: float) -> np.ndarray:
        choice = AUTO if auto else "fast"
        candidates = [Candidate("fast", 8.0, 24.0)]
        restorer = LiveRestorer([choice], candidates, lambda name: slow, clock, strength=strength)
        for _ in range(6):
            result = restorer.restore(frame, BUDGET)
        assert restorer.resolution == (0.5 if auto else 1.0)
        return result.planes[0]

    full, y = restored(1.0).astype(float), planes[0].astype(float)
    expected = np.clip(np.rint(y + np.float32(strength) * (full - y)), 0, colour.peak)
    assert np.abs(restored(strength) - expected).max() <= (1 if strength not in (0, 1) else 0)
    if strength == 0:
        assert np.array_equal(restored(strength), planes[0])
