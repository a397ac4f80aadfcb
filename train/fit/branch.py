"""A decay branch: what a run at a constant rate would give if it ended now; the run itself goes on elsewhere.

Most of what training gains shows only as the rate falls. So the trunk stays at its constant rate as long as
there is time, and a short branch off it is measured and shipped (Hu et al., MiniCPM, COLM 2024, section 4).
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
    """Copy a run's last checkpoint and train it while the rate falls to zero; the run itself is left alone.

    Args:
        trunk: folder of the run.
        steps: of the branch, over all of which the rate falls linearly.
        output: folder of the branch. One that was interrupted is continued, wherever the trunk is by then.

    Returns:
        path of the branch's checkpoint.

    Raises:
        CheckpointError: the trunk has no checkpoint, or none that can be continued.
        ConfigError: the folder holds another run, or a branch of other steps.
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
            raise ConfigError(f"{output} holds {held}, expected one of {steps}; choose another folder")
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
