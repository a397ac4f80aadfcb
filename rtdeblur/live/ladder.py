"""Choice of model and working resolution for `--model auto`: the best that keeps up with the source.

The rungs of the ladder are the models at full resolution, from heavy to light, then the lightest model at
lower working resolutions. A model that is heavier than another and scores no better is left out. Showing
pictures unrestored is not a rung: if even the last rung is too slow, the frame rate drops. Lower
resolutions still help: on a GoPro clip and 4 test pairs the model `fast` gains 3.6 and 3.4 dB (luma) at
full size, 3.3 and 2.4 dB at half size, 1.7 and 0.7 dB at a quarter.
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
"""In pixels; in smaller pictures hardly any blur is left for a model to see."""
_FIRST_PIXELS = 1280 * 720


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that auto may choose.

    Attributes:
        name: name of the model.
        cost: work per pixel, in any unit that all candidates share.
        quality: score, higher is better, in any unit that all candidates share.
    """

    name: str
    cost: float
    quality: float


@dataclass(frozen=True, slots=True)
class Rung:
    """A model at a working resolution.

    Attributes:
        model: name of the model.
        size: working resolution, (height, width).
        cost: work per picture, in units of `Candidate.cost` times pixels.
    """

    model: str
    size: tuple[int, int]
    cost: float


def bundled_candidates() -> list[Candidate]:
    """The bundled models, with the cost and the PSNR that their manifests state.

    Raises:
        ModelError: one of them is damaged.
    """
    manifests = {name: Model.load(name).manifest for name in bundled_models()}
    return [
        Candidate(
            name,
            float(m.architecture.get("gflop_256", 1.0)),
            float(m.scores.get("gopro-test", {}).get("psnr_out", 0.0)),
        )
        for name, m in manifests.items()
    ]


def rungs(candidates: Sequence[Candidate], height: int, width: int) -> tuple[Rung, ...]:
    """The rungs for pictures of one size, from the best and slowest to the fastest."""
    models: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda candidate: (candidate.cost, -candidate.quality)):
        if not models or candidate.quality > models[0].quality:
            models.insert(0, candidate)
    sizes = [(height, width)]
    sizes += [_scaled(height, width, s) for s in SCALES if min(height, width) * s >= _SMALLEST_SIDE]
    steps = [(model, sizes[0]) for model in models] + [(models[-1], size) for size in sizes[1:]]
    return tuple(Rung(model.name, size, model.cost * size[0] * size[1]) for model, size in steps)


def first_guess(ladder: Sequence[Rung]) -> int:
    """Index of the rung to try on an unknown machine: the lightest model, at most 720p to limit memory."""
    lightest = ladder[-1].model
    fitting = (
        i
        for i, rung in enumerate(ladder)
        if rung.model == lightest and rung.size[0] * rung.size[1] <= _FIRST_PIXELS
    )
    return next(fitting, len(ladder) - 1)


def _scaled(height: int, width: int, scale: Fraction) -> tuple[int, int]:
    """Scale to even sides, which every chroma subsampling divides."""
    return round(height * scale / 2) * 2, round(width * scale / 2) * 2


class Governor:
    """Chooses a rung by the time that restoring takes, without oscillating.

    It steps down at once, to the first rung that should fit, and up one rung at a time, after a while and
    only with time to spare. A rung that proved too slow is retried after longer and longer waits.

    Args:
        clock: source of the time.
    """

    SAMPLES = 5
    FITS = 0.9
    """Share of the budget that a lower rung may be expected to take."""
    ROOM = 0.75
    """Share of the budget that a higher rung may be expected to take."""
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
        """Start on a new ladder, because the size of the picture changed.

        Args:
            costs: cost of each rung, in falling order.
            budget: seconds allowed per picture.
            guess: rung to try while the speed of the machine is unknown.

        Returns:
            Index of the first rung that should fit.
        """
        self._costs = costs
        self._move(guess if self._seconds_per_cost is None else self._fitting(0, budget))
        return self._index

    def observe(self, seconds: float, budget: float) -> int:
        """Record how long a picture took.

        Args:
            seconds: time spent on restoring it.
            budget: seconds allowed per picture.

        Returns:
            Index of the rung for the next picture.
        """
        if not self._times:  # not before: the model may have been opened first
            self._moved_at = self._clock()
        self._times.append(seconds)
        hopeless = len(self._times) >= 2 and min(self._times) > 2 * budget
        if len(self._times) < self.SAMPLES and not hopeless:
            return self._index
        median = statistics.median(self._times)
        self._seconds_per_cost = median / self._costs[self._index]
        stayed = self._clock() - self._moved_at
        if median > budget and self._index < len(self._costs) - 1:
            # A step up that soon fails doubles the wait before the next one.
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
        self._climbed = False

    def _fitting(self, first: int, budget: float) -> int:
        last = len(self._costs) - 1
        return next((i for i in range(first, last) if self._expected(i) <= self.FITS * budget), last)

    def _expected(self, index: int) -> float:
        return (self._seconds_per_cost or 0.0) * self._costs[index]
