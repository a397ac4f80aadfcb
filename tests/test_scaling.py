"""The prediction for more cores."""

from __future__ import annotations

import pytest

from rtdeblur.bench import Run, Stage
from rtdeblur.scaling import predict


def run(
    cores: int, serial: float = 0.0, *, decode: float = 0.0, lost: float = 1.0, whole: float = 1.0
) -> Run:
    """Make a run whose stages follow Amdahl's law exactly.

    Args:
        cores: number of cores.
        serial: share of the inference that is serial.
        decode: seconds of decoding per frame, serial.
        lost: core-seconds on two cores divided by those on one.
        whole: share of the limit that is reached.
    """
    work, encode = 0.1, 0.02
    stages = (
        Stage(1 / max(decode, 1e-6), decode),
        Stage(1 / (work * (serial + (1 - serial) / cores)), work * (lost if cores > 1 else 1)),
        Stage(1 / (encode / cores), encode),
    )
    limit = min(*(stage.fps for stage in stages), cores / sum(stage.core_seconds for stage in stages))
    return Run(1, "", *stages, Stage(whole * limit, 0), limit, whole)


def test_parallel_work_scales_with_the_cores() -> None:
    for cores in (1, 2, 4, 8, 16):
        found = predict(run(1), run(2), cores)
        assert found.inference == pytest.approx(10 * cores)
        assert found.whole == pytest.approx(cores / 0.12, rel=1e-3)
        assert found.bound == "cores"


def test_a_serial_share_bounds_a_stage() -> None:
    found = predict(run(1, 0.2), run(2, 0.2), 16)
    assert found.inference == pytest.approx(10 / (0.2 + 0.8 / 16))
    assert (found.bound, found.whole) == ("inference", pytest.approx(found.inference))


def test_the_slowest_stage_bounds_the_run() -> None:
    found = predict(run(1, decode=0.02), run(2, decode=0.02), 16)
    assert (found.bound, found.decode, found.whole) == ("decode", pytest.approx(50), pytest.approx(50))


def test_losses_and_efficiency_are_those_of_two_cores() -> None:
    found = predict(run(1), run(2, lost=1.2, whole=0.9), 4)
    assert found.whole == pytest.approx(0.9 * 4 / 0.14, rel=1e-3)
    measured = run(2, lost=1.2, whole=0.9)
    assert predict(run(1), measured, 2).whole == pytest.approx(measured.whole.fps, rel=1e-3)


def test_noise_is_no_speed_up() -> None:
    """Two cores slower than one, and more than twice as fast."""
    assert predict(run(2), run(1), 16).inference == pytest.approx(20)
    assert predict(run(1), run(4), 2).inference == pytest.approx(20)
