from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from import_path import import_path

from train.errors import ConfigError
from train.fit.checkpoint import load_checkpoint
from train.fit.config import Config, ScheduleOptions
from train.fit.countdown import Countdown
from train.fit.processes import open_fabric
from train.fit.readings import READ_EVERY
from train.fit.run import fit
from train.fit.stopwatch import Stopwatch


class Clock:
    """A clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("time.perf_counter", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def run(clock: Clock, countdown: Countdown, stopwatch: Stopwatch, seconds: float) -> list[float]:
    """Rates of the steps of a run whose steps take so long."""
    rates = []
    for number in countdown.steps(0):
        rates.append(countdown.rate(number))
        with stopwatch.time("network"):
            clock.now += seconds
    return rates


@pytest.mark.parametrize("seconds", [0.05, 0.7, 3.0])
def test_a_timed_run_decays_over_its_last_fifth_at_any_speed(clock: Clock, seconds: float) -> None:
    stopwatch = Stopwatch()
    countdown = Countdown(ScheduleOptions(minutes=5), open_fabric("cpu", 1), stopwatch, began=100.0)
    rates = run(clock, countdown, stopwatch, seconds)
    flat = sum(rate == 1 for rate in rates)
    assert flat / len(rates) == pytest.approx(0.8, abs=0.03)
    fall = rates[flat:]
    assert fall == sorted(fall, reverse=True)
    assert fall[len(fall) // 2] == pytest.approx(0.5, abs=0.08)
    assert 0 < fall[-1] < max(0.05, 8 * seconds / 60)
    assert 300 - 4 * seconds - 1 < countdown.seconds <= 300 - seconds


def test_a_timed_run_ends_in_time_while_the_host_runs_ahead(clock: Clock) -> None:
    stopwatch = Stopwatch()
    countdown = Countdown(ScheduleOptions(minutes=5), open_fabric("cpu", 1), stopwatch, began=100.0)
    pending = 0.0  # work of the device that no read has waited for
    for number in countdown.steps(0):
        pending += 0.4
        with stopwatch.time("network"):
            clock.now += 0.001
            if (number + 1) % READ_EVERY == 0:
                clock.now += pending
                pending = 0.0
    assert 300 - 2 * 4.0 < countdown.seconds + pending < 300


def test_a_timed_run_reserves_time_for_its_last_checkpoint_and_validation(clock: Clock) -> None:
    stopwatch = Stopwatch()
    for name, seconds in (("save", 4.0), ("validation", 20.0)):
        with stopwatch.time(name):
            clock.now += seconds
    countdown = Countdown(ScheduleOptions(minutes=2), open_fabric("cpu", 1), stopwatch, began=100.0)
    run(clock, countdown, stopwatch, 0.1)
    assert 70 < countdown.seconds < 120 - 24


def test_too_little_time_gives_no_step(clock: Clock) -> None:
    stopwatch = Stopwatch()
    with stopwatch.time("save"):
        clock.now += 70
    countdown = Countdown(ScheduleOptions(minutes=1), open_fabric("cpu", 1), stopwatch, began=100.0)
    assert list(countdown.steps(0)) == []


def test_a_timed_run_starts_with_a_warm_up() -> None:
    factor = ScheduleOptions(minutes=1, warmup_steps=10).factor
    assert [factor(step, 0.1) for step in (0, 4, 9, 50)] == pytest.approx([0.1, 0.5, 1, 1])
    assert [factor(50, passed) for passed in (0.8, 0.9, 1.0, 1.1)] == pytest.approx([1, 0.5, 0, 0])
    factor = ScheduleOptions(minutes=1, decay_share=0.8).factor
    assert [factor(50, passed) for passed in (0.2, 0.6, 1.0)] == pytest.approx([1, 0.5, 0])


def test_a_trunk_keeps_its_rate() -> None:
    factor = ScheduleOptions(steps=100, warmup_steps=4).factor
    assert [factor(step) for step in (0, 3, 50, 99)] == pytest.approx([0.25, 1, 1, 1])


@pytest.mark.parametrize(("options", "message"), [
    ({"minutes": 5.0, "steps": 10}, "minutes is 5.0, so steps and decay_steps cannot be set"),
    ({"minutes": 5.0, "decay_steps": 10}, "minutes is 5.0, so steps and decay_steps cannot be set"),
    ({"minutes": -1.0}, "minutes is -1.0, expected a positive number"),
    ({"minutes": 5.0, "decay_share": 0.0}, "decay_share is 0.0, expected more than 0 and at most 1"),
    ({}, "steps is 0, expected at least 1"),
])  # fmt: skip
def test_invalid_schedules_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ScheduleOptions(**options)  # type: ignore[arg-type]


def timed(config: Config, minutes: float) -> Config:
    return replace(config, schedule=ScheduleOptions(minutes=minutes, warmup_steps=2))


def test_a_timed_run_ends_in_time_and_is_then_left_alone(
    tiny: Callable[..., Config], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.fit import record
    from train.fit.step import Step

    step, save = Step.__call__, record.save_checkpoint

    def slow_step(self: Step, number: int, *batch: object) -> list[dict[str, float]]:
        clock.now += 0.4
        return step(self, number, *batch)  # type: ignore[arg-type]

    def slow_save(*words: object) -> None:
        clock.now += 1
        save(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(Step, "__call__", slow_step)
    monkeypatch.setattr(record, "save_checkpoint", slow_save)
    config = timed(tiny(), 0.25)
    began = clock.now
    last = fit(config, began)
    assert 12 < clock.now - began < 15
    state = load_checkpoint(last, {})
    assert state["finished"]
    assert state["step"] > 2
    before = last.read_bytes()
    assert fit(config).read_bytes() == before


def test_an_interrupted_timed_run_has_the_rest_of_its_minutes(
    tiny: Callable[..., Config], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.fit.step import Step

    config = replace(timed(tiny(), 0.25), save_every=1)
    whole, interrupted_at = Step.__call__, 5

    def timed_step(self: Step, step: int, *batch: object) -> list[dict[str, float]]:
        if step == interrupted_at:
            raise KeyboardInterrupt
        clock.now += 4 if step == 3 else 0.5
        return whole(self, step, *batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Step, "__call__", timed_step)
    with pytest.raises(KeyboardInterrupt):
        fit(config)
    began, interrupted_at = clock.now, -1
    last = fit(config)
    assert clock.now - began < 15 - 4 + 1.5  # a run of all 15 s takes 14
    state = load_checkpoint(last, {})
    assert state["seconds"] < 15
    assert state["step"] > 5


def test_the_journal_of_a_run_is_rows_and_charts(tiny: Callable[..., Config], tmp_path: Path) -> None:
    from train.data.pictures import read_picture
    from train.fit.journal import read_rows

    config = tiny(f'[validation]\npairs = "{tmp_path}/pairs"\nevery = 3\n')
    fit(config)
    rows = read_rows(Path(config.output))
    assert [(row["step"], row["crops"]) for row in rows if "psnr" in row] == [(3, 6), (6, 12)]
    assert read_picture(tmp_path / "run" / "curves.png").shape == (720, 720, 3)
    path = tmp_path / "run" / "journal.jsonl"
    path.write_text(path.read_text() + json.dumps({"step": 9, "crops": 18, "psnr": 1.0}) + '\n{"step": 1')
    fit(replace(config, schedule=ScheduleOptions(steps=7)))  # rows of steps that were lost are dropped
    assert [row["step"] for row in read_rows(Path(config.output)) if "psnr" in row] == [3, 6, 7]


@pytest.mark.needs_posix
@pytest.mark.parametrize("devices", [1, 2])
def test_a_run_stopped_by_sigterm_is_saved_and_continues(
    devices: int, tiny: Callable[..., Config], tmp_path: Path
) -> None:
    tiny()
    config, script = tmp_path / "tiny.toml", tmp_path / "run.py"
    steps = "steps = 6\nwarmup_steps = 2\ndecay_steps = 2"
    config.write_text(config.read_text().replace(steps, "minutes = 5.0"))
    script.write_text(KILLED)
    changes = [f"runtime.devices={devices}", "save_every=1000"]
    done = subprocess.run(
        [sys.executable, script, "fit", config, *(f"--set={change}" for change in changes)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": import_path()},
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=200,
    )  # fmt: skip
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert "stopped after step 4; the same command continues the run" in done.stderr
    state = load_checkpoint(tmp_path / "run" / "last.safetensors", {})
    assert state["step"] == 4
    assert "finished" not in state


KILLED = """
import os, signal
from train.fit.step import Step

call = Step.__call__

def killed(self, number, *batch):
    if number == 3 and os.environ.get("LOCAL_RANK", "0") == "0":
        os.kill(os.getpid(), signal.SIGTERM)
    return call(self, number, *batch)

Step.__call__ = killed
from train.__main__ import main
main()
"""
