"""Moving average of a network's weights."""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class MovingAverage(AveragedModel):
    """Exponential moving average of a network's weights and buffers.

    PyTorch's own update copies its counter to the GPU, and so waits for all its work at every step.

    Args:
        network: copied.
        decay: share of the average that an update keeps.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        super().__init__(network, multi_avg_fn=average, use_buffers=True)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Include the present weights of a network; the first update copies them."""
        if self.n_averaged == 0:
            for mine, new in zip(_tensors(self.module), _tensors(model), strict=True):
                mine.copy_(new)
        else:
            self._blend(model)
        self.n_averaged += 1

    def _blend(self, model: nn.Module) -> None:
        groups: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        for mine, new in zip(_tensors(self.module), _tensors(model), strict=True):
            averages, values = groups.setdefault(mine.dtype, ([], []))
            averages.append(mine)
            values.append(new)
        assert self.multi_avg_fn is not None
        for averages, values in groups.values():
            self.multi_avg_fn(averages, values, self.n_averaged)


def _tensors(module: nn.Module) -> chain[Tensor]:
    return chain(module.parameters(), module.buffers())
