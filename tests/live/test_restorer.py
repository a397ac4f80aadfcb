import numpy as np
import pytest

from rtdeblur.errors import ModelError
from rtdeblur.frames import Colour, Frame
from rtdeblur.live.image import Scaler
from rtdeblur.live.ladder import Candidate
from rtdeblur.live.restorer import AUTO, LiveRestorer

BUDGET = 1 / 30


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
    labels = []
    for i in range(6):
        restorer.restore(fake.picture(i), BUDGET)
        labels.append(restorer.label)
        restorer.next_choice()
    assert labels == ["fast", "fast (auto)", "identity"] * 2
    assert [name for name, _ in opened] == ["fast", "identity"]
    restorer.close()
    assert all(backend.closed for _, backend in opened)


def test_a_missing_model_fails_at_the_start(clock) -> None:
    def refuse(name: str):
        raise ModelError(f"no model is called {name!r}")

    with pytest.raises(ModelError, match="no model is called 'slow'"):
        LiveRestorer(["slow"], [], refuse, clock).start()


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
