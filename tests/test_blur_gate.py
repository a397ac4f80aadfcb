"""The blur gate restores tiles that need it, and copies the others bit for bit."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from rtdeblur.backends.identity import IdentityBackend
from rtdeblur.blur_gate import BlurGate, with_gate
from rtdeblur.errors import UsageError
from rtdeblur.frames import Colour, FrameBatch
from rtdeblur.model import Manifest, Model
from rtdeblur.strength import StrengthBackend
from rtdeblur.windows import tile_edges

SIZE = (720, 1280)


def model_with(threshold: float | None = 0.5) -> Model:
    manifest = Manifest(1, "brighten", "0" * 64, {}, 16, "fp32", "off", "MIT", gate_threshold=threshold)
    return Model(manifest, b"graph", None)  # type: ignore[arg-type]


class Lighter(IdentityBackend):
    """Adds 40 to luma and 20 to chroma; notes the shapes of its batches."""

    unrestored = 3

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.begun = 0

    def infer(self, batch: FrameBatch) -> FrameBatch:
        self.shapes.append(batch.planes[0].shape)
        y, u, v = batch.planes
        return replace(batch, planes=(y + y.dtype.type(40), u + u.dtype.type(20), v + v.dtype.type(20)))

    def begin(self) -> None:
        self.begun += 1


class Told:
    """An estimate that is given, frame by frame, again and again."""

    sha256 = "told"

    def __init__(self, needs: Sequence[np.ndarray]) -> None:
        self._needs = itertools.cycle(needs)
        self.closed = 0

    def of(self, luma: np.ndarray, colour: Colour) -> list[np.ndarray]:
        return [next(self._needs) for _ in luma]

    def close(self) -> None:
        self.closed += 1


def gated(inner: Lighter, needs: Sequence[np.ndarray]) -> BlurGate:
    return BlurGate(inner, model_with(), Told(needs))


def tiles(*restored: tuple[int, int], size: tuple[int, int] = SIZE) -> np.ndarray:
    needs = np.zeros([len(tile_edges(side)) for side in size])
    for tile in restored:
        needs[tile] = 1.0
    return needs


def frames(n: int = 1, size: tuple[int, int] = SIZE, chroma: tuple[int, int] | None = None) -> FrameBatch:
    rng = np.random.default_rng(0)
    chroma = chroma or (size[0] // 2, size[1] // 2)
    y, u, v = (rng.integers(60, 180, (n, 1, *shape), np.uint8) for shape in (size, chroma, chroma))
    return FrameBatch((y, u, v), tuple(range(n)), Fraction(1, 25), Colour(), tuple(range(n)))


def next_to(batch: FrameBatch) -> FrameBatch:
    """The same frames, right after the batch."""
    return replace(batch, pts=tuple(pts + len(batch) for pts in batch.pts))


def change(batch: FrameBatch, restored: FrameBatch, frame: int = 0) -> np.ndarray:
    return restored.planes[0][frame, 0].astype(int) - batch.planes[0][frame, 0]


def test_tiles_that_need_nothing_are_copied_bit_for_bit() -> None:
    inner, batch = Lighter(), frames()
    restored = gated(inner, [tiles((1, 2), (1, 3))]).infer(batch)
    luma = change(batch, restored)
    assert (luma[144:240, 272:496] == 40).all()  # 16 from the border with a copied tile
    luma[128:256, 256:512] = 0
    assert not luma.any()
    chroma = restored.planes[1][0, 0].astype(int) - batch.planes[1][0, 0]
    assert (chroma[72:120, 136:248] == 20).all()
    chroma[64:128, 128:256] = 0
    assert not chroma.any()
    assert inner.shapes == [(1, 1, 384, 384)]  # one window, not the whole frame
    assert (restored.pts, restored.carriers) == (batch.pts, batch.carriers)


def test_the_change_fades_out_towards_copied_tiles() -> None:
    batch = frames()
    luma = change(batch, gated(Lighter(), [tiles((2, 4))]).infer(batch))
    across = luma[320, 512:640]
    assert across[0] <= 2
    assert across[-1] <= 2
    assert (np.abs(np.diff(across)) <= 3).all()  # 40 over 16 pixels
    assert (across[16:-16] == 40).all()
    assert luma[256:384, 512:640].min() >= 0


def test_the_change_does_not_fade_at_the_border_of_the_frame() -> None:
    batch = frames()
    corner = (len(tile_edges(SIZE[0])) - 1, len(tile_edges(SIZE[1])) - 1)
    luma = change(batch, gated(Lighter(), [tiles(corner)]).infer(batch))
    assert (luma[-40:, -40:] == 40).all()
    assert luma[640, 1160] <= 2


def test_a_frame_that_needs_nothing_never_reaches_the_model() -> None:
    inner, batch = Lighter(), frames(2)
    gate = gated(inner, [tiles()])
    restored = gate.infer(batch)
    assert not inner.shapes
    assert all((a == b).all() for a, b in zip(restored.planes, batch.planes, strict=True))
    assert (gate.tiles, gate.restored_tiles) == (120, 0)


def test_only_the_frames_of_a_batch_that_need_it_are_restored() -> None:
    inner, batch = Lighter(), frames(3)
    everything = np.ones_like(tiles())
    gate = gated(inner, [tiles(), everything, tiles((0, 0))])
    restored = gate.infer(batch)
    assert not change(batch, restored, 0).any()
    assert (change(batch, restored, 1) == 40).all()
    assert (change(batch, restored, 2)[:112, :112] == 40).all()
    # The third frame follows one that was restored whole, yet needs nothing elsewhere.
    assert not change(batch, restored, 2)[128:].any()
    assert inner.shapes == [(1, 1, *SIZE), (1, 1, 384, 384)]
    assert gate.restored_tiles == 61


def test_windows_have_the_shape_that_restores_the_least() -> None:
    """The right third of a frame is two windows of its height, which take 0.6 of the frame's time."""
    inner, batch = Lighter(), frames(2)
    third = tiles(*((row, column) for row in range(6) for column in range(6, 10)))
    luma = change(batch, gated(inner, [third]).infer(batch), 1)
    assert inner.shapes == [(4, 1, 720, 384)]
    assert (luma[:, 784:] == 40).all()
    assert not luma[:, :768].any()


def test_windows_do_not_depend_on_the_other_frames_of_a_batch() -> None:
    """Batches differ between machines, and in a resumed run."""
    needs = [
        tiles((0, 0)), tiles(*((0, column) for column in range(10))), np.ones_like(tiles()),
        tiles(*((row, 9) for row in range(6))),
    ]  # fmt: skip
    together, alone = Lighter(), Lighter()
    batch = frames(4)
    whole = gated(together, needs).infer(batch)
    gate = gated(alone, needs)
    for i in range(4):
        one = gate.infer(replace(
            batch, planes=tuple(p[i : i + 1] for p in batch.planes), pts=(i,), carriers=(None,)
        ))  # fmt: skip
        assert all((a[i] == b[0]).all() for a, b in zip(whole.planes, one.planes, strict=True))
    assert alone.shapes == [(1, 1, 384, 384), (1, 1, 384, 1280), (1, 1, 720, 1280), (1, 1, 720, 384)]
    assert sorted(together.shapes) == sorted(alone.shapes)


def test_many_scattered_tiles_cost_no_more_than_the_frame() -> None:
    inner, batch = Lighter(), frames()
    scattered = [(row, column) for row in (0, 2, 4) for column in (0, 3, 6, 9)]
    luma = change(batch, gated(inner, [tiles(*scattered)]).infer(batch))
    assert inner.shapes == [(1, 1, *SIZE)]
    assert (luma[16:112, 400:496] == 40).all()
    assert not luma[128:256].any()


@pytest.mark.parametrize("chroma", [(60, 160), (121, 321), (1, 1)])
def test_any_chroma_works(chroma: tuple[int, int]) -> None:
    """4:1:0 with windows; odd sizes and grey by restoring the whole frame."""
    size = (241, 641) if chroma == (121, 321) else (240, 640)
    batch = frames(1, size, chroma)
    luma = change(batch, gated(Lighter(), [tiles((0, 1), size=size)]).infer(batch))
    assert (luma[16:112, 144:240] == 40).all()
    assert not luma[:, :128].any()
    assert not luma[128:].any()


def test_decisions_do_not_flicker() -> None:
    """A restored tile stays restored until its need is clearly below the threshold."""
    size = (128, 128)
    needs = [np.full((1, 1), need) for need in (0.45, 0.51, 0.46, 0.43, 0.42, 0.45)]
    gate, batch = gated(Lighter(), needs), frames(6, size)
    restored = gate.infer(batch)
    assert [bool(change(batch, restored, i).any()) for i in range(6)] == [
        False,
        True,
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("pts", [(0, 0), (0, 7)])
def test_pictures_and_frames_after_a_gap_are_judged_alone(pts: tuple[int, int]) -> None:
    """A stack of pictures has no times; 7/25 s are no longer a moment."""
    batch = replace(frames(2, (128, 128)), pts=pts)
    restored = gated(Lighter(), [np.full((1, 1), need) for need in (0.51, 0.45)]).infer(batch)
    assert [bool(change(batch, restored, i).any()) for i in range(2)] == [True, False]


def test_neighbours_of_restored_tiles_are_restored_sooner() -> None:
    """A moving object reaches into them; tiles far from it are judged as usual."""
    needs = tiles((2, 4))
    needs[3, 5] = needs[5, 9] = 0.38
    batch = frames()
    gate = gated(Lighter(), [needs])
    luma = change(batch, gate.infer(batch))
    assert (luma[400:496, 656:752] == 40).all()
    assert not luma[640:, 1152:].any()
    assert gate.restored_tiles == 2


def test_a_new_stream_starts_without_history() -> None:
    inner, batch = Lighter(), frames(1, (128, 128))
    gate = gated(inner, [np.full((1, 1), need) for need in (0.6, 0.45)])
    gate.infer(batch)
    gate.begin()
    assert not change(batch, gate.infer(batch)).any()
    assert inner.begun == 1


def test_frames_that_are_skipped_count_as_history() -> None:
    """A resumed run makes the same decisions as one without interruption."""
    inner, batch = Lighter(), frames(1, (128, 128))
    gate = gated(inner, [np.full((1, 1), need) for need in (0.6, 0.45)])
    gate.observe(batch)
    assert not inner.shapes
    assert gate.tiles == 0
    assert change(batch, gate.submit(next_to(batch))()).any()


def test_another_process_continues_with_the_history_of_this_one() -> None:
    batch, needs = frames(1, (128, 128)), [np.full((1, 1), need) for need in (0.6, 0.45)]
    first = StrengthBackend(gated(Lighter(), needs), 1.0)
    first.observe(batch)
    other = StrengthBackend(gated(Lighter(), needs[1:]), 1.0)
    other.begin()
    assert not change(batch, other.infer(batch)).any()
    other.begin()
    other.recall(first.memory)
    assert change(batch, other.infer(next_to(batch))).any()


def test_strength_scales_what_the_gate_lets_through() -> None:
    batch = frames()
    backend = StrengthBackend(gated(Lighter(), [tiles((1, 1))]), 0.5)
    luma = change(batch, backend.infer(batch))
    assert (luma[144:240, 144:240] == 20).all()
    assert not luma[:128].any()
    assert (backend.tiles, backend.restored_tiles, backend.unrestored) == (60, 1, 3)


def test_auto_gates_only_a_calibrated_model_on_the_cpu() -> None:
    inner = Lighter()
    assert isinstance(with_gate(inner, model_with(), "auto"), BlurGate)
    assert with_gate(inner, model_with(None), "auto") is inner
    assert with_gate(inner, model_with(), "off") is inner
    inner.device = "a GPU"
    assert with_gate(inner, model_with(), "auto") is inner
    assert isinstance(with_gate(inner, model_with(), 0.3), BlurGate)


def test_a_threshold_needs_a_calibrated_model_and_a_sensible_value() -> None:
    with pytest.raises(UsageError, match=r"'brighten' has no calibrated gate; try --gate off"):
        with_gate(Lighter(), model_with(None), 0.5)
    for gate in (-0.1, 1.1, float("nan"), "much"):
        with pytest.raises(UsageError, match="expected auto, off, or 0"):
            with_gate(Lighter(), model_with(), gate)  # type: ignore[arg-type]


def test_a_backend_is_closed_if_it_cannot_have_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[object] = []
    monkeypatch.setattr(Lighter, "close", lambda backend: closed.append(backend))
    inner = Lighter()
    with pytest.raises(UsageError):
        with_gate(inner, model_with(None), 0.5)
    assert closed == [inner]


def test_another_threshold_is_another_job() -> None:
    one, other = (BlurGate(Lighter(), model_with(), Told([]), threshold) for threshold in (0.3, 0.4))
    assert one.fingerprint != other.fingerprint
    assert "gate 0.3" in one.description


def test_the_estimate_is_closed_with_the_gate() -> None:
    estimate = Told([])
    BlurGate(Lighter(), model_with(), estimate).close()
    assert estimate.closed == 1


def test_another_estimate_is_another_job() -> None:
    other = Told([])
    other.sha256 = "other"
    gates = [BlurGate(Lighter(), model_with(), estimate) for estimate in (Told([]), other)]
    assert gates[0].fingerprint != gates[1].fingerprint
