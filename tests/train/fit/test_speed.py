from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from import_path import import_path

from train.fit import speed
from train.fit.checkpoint import load_checkpoint
from train.fit.config import Config, RuntimeOptions
from train.fit.run import fit
from train.fit.speed import MOST_SECONDS, Trial, handed_down, machine, settle

Tiny = Callable[..., Config]


def auto(config: Config, **options: object) -> Config:
    runtime = RuntimeOptions(accelerator="cpu", workers=0, precision="auto", devices="auto")
    return replace(config, runtime=replace(runtime, **options), batch=4)  # type: ignore[arg-type]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, int], float]:
    """Fake speeds by arithmetic and processes, on a machine of four cores; others are 1."""
    speeds: dict[tuple[str, int], float] = {}
    monkeypatch.setattr(speed, "usable_cores", lambda: 4)
    monkeypatch.setattr(
        speed,
        "crops_per_second",
        lambda config, trial, until: speeds.get((trial.arithmetic, trial.processes), 1.0),
    )
    return speeds


def test_explicit_settings_are_not_measured(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "crops_per_second", lambda *_: pytest.fail("measured"))
    config = tiny()
    assert settle(config, {}).config is config
    assert settle(config, {}).reason == ""


def test_the_fastest_is_chosen_and_reported(tiny: Tiny, measured: dict[tuple[str, int], float]) -> None:
    measured |= {("float32 Winograd", 1): 40.0, ("bf16", 4): 41.0, ("float32", 4): 12.4}
    choice = settle(auto(tiny()), {})
    # A process per core has to be clearly faster, since its exchange of gradients is not measured.
    assert choice.config.runtime == RuntimeOptions(
        accelerator="cpu", workers=0, devices=1, precision="32-true", channels_last=True, winograd=True
    )
    assert choice.config.batch == 4
    assert choice.reason == (
        "fastest here: float32 Winograd, 1 process × 4 threads (crops/s of "
        "1 process × 4 threads: bf16 1, float32 1, float32 Winograd 40; "
        "4 processes × 1 thread: bf16 41, float32 12, float32 Winograd 1)"
    )


def test_chosen_processes_split_the_batch(tiny: Tiny, measured: dict[tuple[str, int], float]) -> None:
    measured[("bf16", 4)] = 50.0
    config = settle(auto(tiny()), {}).config
    assert (config.runtime.devices, config.runtime.precision, config.batch) == (4, "bf16-mixed", 1)
    # 3 of 4 cores: four processes cannot share a batch of 6 evenly
    measured[("bf16", 3)] = 60.0
    config = settle(replace(auto(tiny()), batch=6), {}).config
    assert (config.runtime.devices, config.batch) == (3, 2)


def test_only_auto_settings_are_measured(tiny: Tiny, measured: dict[tuple[str, int], float]) -> None:
    measured |= {("bf16", 4): 99.0, ("float32", 4): 9.0, ("float32", 1): 2.0}
    config = settle(auto(tiny(), precision="32-true"), {}).config
    assert (config.runtime.precision, config.runtime.devices) == ("32-true", 4)
    measured[("bf16", 2)] = 5.0
    config = settle(auto(tiny(), devices=2), {}).config
    assert (config.runtime.precision, config.runtime.devices, config.batch) == ("bf16-mixed", 2, 4)


def test_a_resumed_run_keeps_this_machines_choice(
    tiny: Tiny, measured: dict[tuple[str, int], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured[("bf16", 1)] = 50.0
    config = auto(tiny(), devices=1)
    last = fit(config)
    state = load_checkpoint(last, {})
    assert state["config"]["runtime"]["precision"] == "auto"
    measured[("float32", 1)] = 60.0
    choice = settle(config, state)
    assert choice.config.runtime.precision == "bf16-mixed"
    assert choice.reason == "as chosen on this machine before: bf16-mixed, devices 1"
    without = replace(config, runtime=replace(config.runtime, graphs=False))
    assert not settle(without, state).config.runtime.graphs
    assert settle(config, state | {"machine": "another"}).config.runtime.precision == "32-true"


def test_started_processes_inherit_the_choice(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "crops_per_second", lambda *_: pytest.fail("measured"))
    chosen = RuntimeOptions(
        accelerator="cpu", workers=0, devices=2, precision="bf16-mixed", channels_last=True
    )
    before = dict(os.environ)
    with handed_down(chosen):
        config = settle(auto(tiny()), {}).config
    assert (config.runtime, config.batch) == (chosen, 2)
    assert dict(os.environ) == before


@pytest.mark.parametrize("step", [0.1, 1.0, 5.0])
def test_the_measurement_keeps_its_time_limit(
    step: float, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def measured(config: Config, trial: Trial, until: float) -> float:
        nonlocal now
        now = max(now + 2 * step, until + step)  # a warm-up step and a timed one; the last may end late
        return 3.0

    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(speed, "crops_per_second", measured)
    monkeypatch.setattr(speed, "usable_cores", lambda: 2)
    settle(auto(tiny()), {})
    assert 2 * step <= now <= MOST_SECONDS


def test_the_measurement_restores_threads(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "MOST_SECONDS", 1.5)
    monkeypatch.setattr(speed, "usable_cores", lambda: 2)
    threads = torch.get_num_threads()
    reason = settle(auto(tiny()), {}).reason
    assert torch.get_num_threads() == threads
    assert reason.startswith("fastest here: ")


def test_a_slow_machine_reports_the_skipped_trials(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "MOST_SECONDS", 0.2)
    monkeypatch.setattr(speed, "usable_cores", lambda: 1)

    def slow(config: Config, trial: Trial, until: float) -> float:
        time.sleep(0.15)
        return 3.0

    monkeypatch.setattr(speed, "crops_per_second", slow)
    choice = settle(auto(tiny()), {})
    assert choice.config.runtime.precision == "bf16-mixed"
    assert choice.reason.endswith("(crops/s of 1 process × 1 thread: bf16 3, float32 not measured, "
                                  "float32 Winograd not measured)")  # fmt: skip


def test_a_machine_has_an_identifier() -> None:
    assert machine().endswith(" cores")


def test_a_run_with_two_chosen_processes_works(tiny: Tiny, tmp_path: Path) -> None:
    """Processes that Fabric starts run the same command again: only a real one shows that they agree."""
    import subprocess
    import sys

    tiny()
    code = (
        "from train.fit import speed; speed.usable_cores = lambda: 2; "
        "speed.crops_per_second = lambda config, trial, until: float(trial.processes); "
        "from train.__main__ import main; main()"
    )
    script = tmp_path / "run.py"
    script.write_text(code)
    changes = ["runtime.devices='auto'", "runtime.precision='auto'"]
    subprocess.run(
        [sys.executable, script, "fit", tmp_path / "tiny.toml", *(f"--set={change}" for change in changes)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": import_path()},
        check=True, cwd=tmp_path, timeout=200,
    )  # fmt: skip
    state = load_checkpoint(tmp_path / "run" / "last.safetensors", {})
    assert (state["step"], state["examples"], state["runtime"]["devices"]) == (6, 6 * 2, 2)
