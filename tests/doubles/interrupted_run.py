"""Training runs that stop in the middle."""

from __future__ import annotations

import pytest
from torch import Tensor

from train.fit.config import Config
from train.fit.run import fit
from train.fit.step import Step


def interrupted_at(config: Config, number: int) -> None:
    """Run `fit` until Ctrl-C before step `number`, counted from 0."""
    whole = Step.__call__

    def until(self: Step, step: int, *batch: Tensor) -> list[dict[str, float]]:
        if step == number:
            raise KeyboardInterrupt
        return whole(self, step, *batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Step, "__call__", until)
        with pytest.raises(KeyboardInterrupt):
            fit(config)
