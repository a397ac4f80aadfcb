"""Decay branch: the result of a run at a constant learning rate if it ended now, while the run continues.

Much of the gain of training shows only once the learning rate decays. So the trunk keeps a constant rate as
long as there is time, and a short branch is measured and shipped (Hu et al., MiniCPM, COLM 2024, section 4).
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from train.errors import ConfigError
from train.fit.checkpoint import copy_checkpoint, load_checkpoint
from train.fit.config import Config
from train.fit.options import from_table
from train.fit.run import LAST, fit


def decay(trunk: Path, steps: int, output: Path) -> Path:
    """Copy a run's last checkpoint and continue it with the learning rate falling to zero.

    Args:
        trunk: folder of the run, which is not changed.
        steps: length of the branch, over which the learning rate falls linearly.
        output: folder of the branch. An interrupted branch is continued, even if the trunk has moved on.

    Returns:
        path of the branch's checkpoint.

    Raises:
        CheckpointError: the trunk has no checkpoint, or it cannot be continued.
        ConfigError: the folder contains another run, or a branch of another length.
    """
    last = output / LAST
    if last.exists():
        state = load_checkpoint(last, {})
        config = from_table(Config, state["config"], f"{last} config")
        if "branched_at" not in state or config.schedule.decay_steps != steps:
            held = (
                f"a branch of {config.schedule.decay_steps} steps"
                if "branched_at" in state
                else "another run"
            )
            raise ConfigError(f"{output} contains {held}, expected one of {steps}; choose another folder")
        return fit(replace(config, output=str(output)))
    state = load_checkpoint(trunk / LAST, {})
    config = from_table(Config, state["config"], f"{trunk / LAST} config")
    began = state["step"]
    schedule = replace(config.schedule, steps=began + steps, decay_steps=steps, minutes=0.0)
    config = replace(config, output=str(output), schedule=schedule, weights="")
    output.mkdir(parents=True, exist_ok=True)
    state = {key: value for key, value in state.items() if key != "finished"}
    copy_checkpoint(trunk / LAST, last, state | {"config": asdict(config), "branched_at": began})
    return fit(config)
