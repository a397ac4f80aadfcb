"""Prediction of the speed on more cores, from runs on one core and on two.

- A stage alone takes serial + parallel / n seconds per frame on n cores (Amdahl, AFIPS 1967); both parts
  follow from its times on one core and on two.
- The whole run is at most as fast as its slowest stage alone, and its stages share the cores: n divided by
  the core-seconds that all of them spend per frame on two cores, which includes what two cores lose to each
  other (memory bandwidth, caches, clock).
- It reaches the same share of that limit as on two cores.

What more cores lose to each other is not in it, nor are hyperthreads, which count as cores here but add less.
"""

from __future__ import annotations

from dataclasses import dataclass

from rtdeblur.bench import Run, Stage


@dataclass(frozen=True)
class Prediction:
    """Frames per second on a number of cores.

    Attributes:
        cores: number of cores.
        decode: decoding only.
        inference: inference only.
        encode: encoding only.
        whole: all three at once.
        bound: what limits it: decode, inference, encode, or cores.
    """

    cores: int
    decode: float
    inference: float
    encode: float
    whole: float
    bound: str


def predict(one: Run, two: Run, cores: int) -> Prediction:
    """Predict the speed on `cores` cores.

    Args:
        one: measured on one core.
        two: the same video on two cores.
        cores: number of cores, 1 or more.
    """
    limit, _ = _limit(one, two, 2)
    efficiency = min(1.0, two.whole.fps / limit)
    alone = _alone(one, two, cores)
    limit, bound = _limit(one, two, cores)
    return Prediction(cores, whole=efficiency * limit, bound=bound, **alone)


def _limit(one: Run, two: Run, cores: int) -> tuple[float, str]:
    spent = sum(stage.core_seconds for stage in (two.decode, two.inference, two.encode))
    limits = {**_alone(one, two, cores), "cores": cores / max(spent, 1e-9)}
    bound = min(limits, key=limits.__getitem__)
    return limits[bound], bound


def _alone(one: Run, two: Run, cores: int) -> dict[str, float]:
    stages = ("decode", "inference", "encode")
    return {name: _amdahl(getattr(one, name), getattr(two, name), cores) for name in stages}


def _amdahl(one: Stage, two: Stage, cores: int) -> float:
    """Extrapolate the rate of a stage; noise cannot make it more than parallel or less than serial."""
    on_one, on_two = 1 / one.fps, 1 / two.fps
    parallel = min(max(2 * (on_one - on_two), 0.0), on_one)
    return 1 / (on_one - parallel + parallel / cores)
