"""Losses and gradient norms of steps, left on their device until they are needed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from train.errors import DivergedError

READ_EVERY = 10
"""Steps between two reads on a GPU; the host runs ahead of it by no more than these."""
NORM = "gradient norm"
"""Key of a gradient's norm among a learner's scalars."""


@dataclass(frozen=True)
class _Row:
    step: int
    learner: str
    names: tuple[str, ...]
    values: Tensor


class Readings:
    """Scalars of the latest steps, in the order in which they were computed.

    Reading a scalar waits until a GPU has finished all its work, so many are read at once.
    """

    def __init__(self) -> None:
        self._unread: list[_Row] = []
        self._read: dict[int, dict[str, float]] = {}

    def add(self, step: int, learner: str, scalars: Mapping[str, Tensor]) -> None:
        """Keep copies of a learner's scalars, without reading them.

        Args:
            step: counted from 0.
            learner: name of the learner, and the key of its loss.
            scalars: its loss, any other losses, and its gradient's norm as `NORM` if that must be finite.
        """
        self._unread.append(_Row(step, learner, tuple(scalars), torch.stack(list(scalars.values()))))

    def read(self) -> None:
        """Read and check everything that was added.

        Raises:
            DivergedError: a loss or a norm is not finite; names the first step of which this is true.
        """
        rows, self._unread = self._unread, []
        if not rows:
            return
        numbers = torch.cat([row.values for row in rows]).cpu()
        for row, part in zip(rows, torch.split(numbers, [len(row.names) for row in rows]), strict=True):
            values = dict(zip(row.names, part.tolist(), strict=True))
            norm = values.pop(NORM, 0.0)
            _check(row, "loss", values[row.learner])
            _check(row, NORM, norm)
            self._read.setdefault(row.step, {}).update(values)

    def take(self) -> list[dict[str, float]]:
        """Return the losses by name of each step since the last call, oldest first; none if any is unread."""
        if self._unread:
            return []
        values, self._read = list(self._read.values()), {}
        return values


def _check(row: _Row, what: str, value: float) -> None:
    if not math.isfinite(value):
        raise DivergedError(
            f"the {row.learner}'s {what} is {value} at step {row.step}, expected a finite number; "
            "try a lower learning rate or a smaller clip"
        )
