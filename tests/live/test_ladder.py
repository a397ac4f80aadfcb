"""The choice of model and working resolution, on a clock and a machine that the test turns."""

from collections.abc import Callable

import pytest

from rtdeblur.live.ladder import Candidate, Governor, bundled_candidates, first_guess, rungs
from rtdeblur.model import bundled_models

BUDGET = 1 / 30
FAST, BIG = Candidate("fast", 8.0, 24.0), Candidate("big", 60.0, 26.0)


class Machine:
    """Restores a number of cost units per second, at 30 pictures per second, and records the rungs used."""

    def __init__(self, clock: Callable[[], float], speed: float, costs: list[float]) -> None:
        self.clock, self.speed, self.costs = clock, speed, costs
        self.governor = Governor(clock)
        self.index = self.governor.begin(costs, BUDGET)
        self.used = [self.index]

    def run(self, seconds: float, speed: float | None = None) -> int:
        self.speed = speed or self.speed
        end = self.clock() + seconds
        while self.clock() < end:
            took = self.costs[self.index] / self.speed
            self.clock.advance(max(took, BUDGET))
            self.index = self.governor.observe(took, BUDGET)
            if self.index != self.used[-1]:
                self.used.append(self.index)
        return self.index


COSTS = [16.0, 9.0, 4.0, 2.25, 1.0]


def test_a_fast_machine_stays_on_the_top_rung(clock) -> None:
    machine = Machine(clock, 16 / (0.9 * BUDGET), COSTS)
    machine.run(600)
    assert machine.used == [0]


def test_a_slow_machine_steps_down_at_once_to_a_rung_that_fits(clock) -> None:
    machine = Machine(clock, 3 / BUDGET, COSTS)
    machine.run(0.5)
    assert machine.used == [0, 3]


def test_the_ladder_follows_a_changing_load(clock) -> None:
    machine = Machine(clock, 20 / BUDGET / 0.9, COSTS)
    machine.run(30)
    assert machine.index == 0
    assert machine.run(30, speed=5 / BUDGET) == 2
    machine.run(120, speed=22 / BUDGET)
    assert machine.used == [0, 2, 1, 0]


def test_the_ladder_does_not_oscillate_between_two_rungs(clock) -> None:
    machine = Machine(clock, 15.5 / BUDGET, COSTS)  # the best takes 1.03 of the budget
    machine.run(3600)
    assert machine.used == [0, 1]


def test_a_failed_step_up_is_retried_less_and_less_often(clock) -> None:
    class Deceiver(Machine):
        def run(self, seconds: float, speed: float | None = None) -> int:
            end = self.clock() + seconds
            while self.clock() < end:
                took = (0.4, 1.2)[self.index == 0] * BUDGET  # small is cheap, big is dearer than it should be
                self.clock.advance(max(took, BUDGET))
                self.index = self.governor.observe(took, BUDGET)
                if self.index != self.used[-1]:
                    self.used.append(self.index)
            return self.index

    machine = Deceiver(clock, 1.0, [16.0, 9.0])
    machine.run(60)
    in_a_minute = len(machine.used)
    machine.run(3540)
    assert in_a_minute >= 4
    assert len(machine.used) < in_a_minute + 2 * 3540 / Governor.MOST_HOLD_SECONDS + 8


def test_a_single_slow_picture_changes_nothing(clock) -> None:
    governor = Governor(clock)
    governor.begin(COSTS, BUDGET)
    for i in range(100):
        clock.advance(BUDGET)
        assert governor.observe(1.0 if i == 50 else 0.02, BUDGET) == 0


def test_a_far_too_slow_model_is_left_after_two_pictures(clock) -> None:
    governor = Governor(clock)
    governor.begin(COSTS, BUDGET)
    assert governor.observe(2.0, BUDGET) == 0
    assert governor.observe(2.0, BUDGET) == len(COSTS) - 1


def test_a_new_size_starts_on_a_rung_that_fits(clock) -> None:
    machine = Machine(clock, 11 / BUDGET, COSTS)
    machine.run(5)
    assert machine.index == 1
    assert machine.governor.begin([36 * cost for cost in COSTS], BUDGET) == 4
    assert machine.governor.begin(COSTS, BUDGET) == 1


def test_bundled_candidates_have_the_names_that_models_has() -> None:
    assert [candidate.name for candidate in bundled_candidates()] == bundled_models()


def test_rungs_fall_in_cost_but_not_below_a_useful_size() -> None:
    ladder = rungs([FAST, BIG], 360, 640)
    assert [(r.model, r.size) for r in ladder] == [
        ("big", (360, 640)),
        ("fast", (360, 640)),
        ("fast", (270, 480)),
        ("fast", (180, 320)),
        ("fast", (136, 240)),
    ]
    costs = [r.cost for r in ladder]
    assert costs == sorted(costs, reverse=True)
    assert [r.size for r in rungs([FAST], 2160, 3840)][-1] == (270, 480)
    assert [r.size for r in rungs([FAST], 90, 160)] == [(90, 160)]


def test_a_heavier_model_that_is_not_better_is_skipped() -> None:
    worse = Candidate("worse", 60.0, 23.0)
    assert rungs([worse, FAST], 360, 640) == rungs([FAST], 360, 640)
    assert [r.model for r in rungs([worse, BIG, FAST], 90, 160)] == ["big", "fast"]
    assert [r.model for r in rungs([Candidate("twin", 8.0, 23.0), FAST], 90, 160)] == ["fast"]


def test_an_unknown_machine_starts_with_the_lightest_model_at_720p_or_less(clock) -> None:
    ladder = rungs([FAST, BIG], 2160, 3840)
    assert ladder[first_guess(ladder)].size == (540, 960)
    small = rungs([FAST, BIG], 360, 640)
    assert (small[first_guess(small)].model, small[first_guess(small)].size) == ("fast", (360, 640))
    assert first_guess(rungs([FAST], 720, 1280)) == 0
    governor = Governor(clock)
    assert governor.begin([r.cost for r in ladder], BUDGET, first_guess(ladder)) == first_guess(ladder)
    for _ in range(5000):  # a fast one climbs from there
        clock.advance(BUDGET)
        index = governor.observe(0.001, BUDGET)
    assert index == 0


@pytest.mark.parametrize("size", [(361, 641), (720, 1280), (1081, 1919)])
def test_working_sizes_are_even(size: tuple[int, int]) -> None:
    for rung in rungs([FAST], *size)[1:]:
        assert rung.size[0] % 2 == rung.size[1] % 2 == 0
