"""`--model auto`: from the best picture to the fastest, and which of them keeps up.

The rungs are the models from heavy to light at full resolution, without those that are heavier than
another and no better, then the lightest at lower working resolutions. Passing pictures on unrestored is no
rung: where even the last is too slow, the frame rate gives way. Lower resolutions are worth it: on a GoPro
clip and 4 test pairs the model `fast` gains 1.1 and 1.6 dB (luma) at full size, 1.5 and 1.4 dB at a half,
0.9 and 0.4 dB at a quarter.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from rtdeblur.live.meters import Clock
from rtdeblur.model import Model, bundled_models

SCALES = (Fraction(3, 4), Fraction(1, 2), Fraction(3, 8), Fraction(1, 4), Fraction(3, 16), Fraction(1, 8))
_SMALLEST_SIDE = 120
"""In lines; below it there is little blur left that a model could see."""
_FIRST_PIXELS = 1280 * 720


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that auto may choose.

    Attributes:
        name: of the model.
        cost: how much it computes for a pixel, in any unit that all candidates share.
        quality: what it scores, more being better, in any unit that all candidates share.
    """

    name: str
    cost: float
    quality: float


@dataclass(frozen=True, slots=True)
class Rung:
    """A way to restore a picture.

    Attributes:
        model: its name.
        size: (height, width) to work at.
        cost: how much it computes, in units of `Candidate.cost` times pixels.
    """

    model: str
    size: tuple[int, int]
    cost: float


def bundled_candidates() -> list[Candidate]:
    """The bundled models, with the cost and the PSNR that their manifests state.

    Raises:
        ModelError: one of them is damaged.
    """
    manifests = [Model.load(name).manifest for name in bundled_models()]
    return [
        Candidate(
            m.name,
            float(m.architecture.get("gflop_256", 1.0)),
            float(m.scores.get("gopro-test", {}).get("psnr_out", 0.0)),
        )
        for m in manifests
    ]


def rungs(candidates: Sequence[Candidate], height: int, width: int) -> tuple[Rung, ...]:
    """The ways to restore a picture of a size, best and dearest first."""
    models: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda candidate: (candidate.cost, -candidate.quality)):
        if not models or candidate.quality > models[0].quality:
            models.insert(0, candidate)
    sizes = [(height, width)]
    sizes += [_scaled(height, width, s) for s in SCALES if min(height, width) * s >= _SMALLEST_SIDE]
    steps = [(model, sizes[0]) for model in models] + [(models[-1], size) for size in sizes[1:]]
    return tuple(Rung(model.name, size, model.cost * size[0] * size[1]) for model, size in steps)


def first_guess(ladder: Sequence[Rung]) -> int:
    """The rung to try on a machine of which nothing is known: 720p at most, for memory's sake too."""
    fitting = (i for i, rung in enumerate(ladder) if rung.size[0] * rung.size[1] <= _FIRST_PIXELS)
    return next(fitting, len(ladder) - 1)


def _scaled(height: int, width: int, scale: Fraction) -> tuple[int, int]:
    """Even sides, which every subsampling of chroma divides."""
    return round(height * scale / 2) * 2, round(width * scale / 2) * 2


class Governor:
    """Chooses a rung by the time that restoring takes, without going to and fro.

    Down at once, to where the time should fit; up one rung, after a while and only with room to spare.
    A rung that proved too slow is tried again later and later.

    Args:
        clock: tells the time.
    """

    SAMPLES = 5
    FITS = 0.9
    """Part of the budget that a lower rung may be expected to take."""
    ROOM = 0.75
    """Part of the budget that a higher rung may be expected to take."""
    HOLD_SECONDS = 5.0
    MOST_HOLD_SECONDS = 160.0

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._costs: Sequence[float] = (1.0,)
        self._index = 0
        self._seconds_per_cost: float | None = None
        self._times: deque[float] = deque(maxlen=self.SAMPLES)
        self._moved_at = clock()
        self._climbed = False
        self._hold = self.HOLD_SECONDS

    def begin(self, costs: Sequence[float], budget: float, guess: int = 0) -> int:
        """Start on a new ladder, because the picture's size changed.

        Args:
            costs: of each rung, falling.
            budget: seconds that restoring a picture may take.
            guess: the rung to try where nothing is known yet.

        Returns:
            The first rung that should fit.
        """
        self._costs = costs
        self._move(guess if self._seconds_per_cost is None else self._fitting(0, budget))
        return self._index

    def observe(self, seconds: float, budget: float) -> int:
        """Take note of how long a picture took.

        Args:
            seconds: that restoring it took.
            budget: seconds that it may take.

        Returns:
            The rung for the next picture.
        """
        self._times.append(seconds)
        hopeless = len(self._times) >= 2 and min(self._times) > 2 * budget
        if len(self._times) < self.SAMPLES and not hopeless:
            return self._index
        median = statistics.median(self._times)
        self._seconds_per_cost = median / self._costs[self._index]
        stayed = self._clock() - self._moved_at
        if median > budget and self._index < len(self._costs) - 1:
            # A climb that fails soon costs a longer wait before the next.
            failed = self._climbed and stayed < 2 * self._hold
            self._hold = min(2 * self._hold, self.MOST_HOLD_SECONDS) if failed else self.HOLD_SECONDS
            self._move(self._fitting(self._index + 1, budget))
        elif self._index and stayed >= self._hold and self._expected(self._index - 1) <= self.ROOM * budget:
            self._move(self._index - 1)
            self._climbed = True
        return self._index

    def _move(self, index: int) -> None:
        self._index = index
        self._times.clear()
        self._moved_at = self._clock()
        self._climbed = False

    def _fitting(self, first: int, budget: float) -> int:
        last = len(self._costs) - 1
        return next((i for i in range(first, last) if self._expected(i) <= self.FITS * budget), last)

    def _expected(self, index: int) -> float:
        return (self._seconds_per_cost or 0.0) * self._costs[index]
