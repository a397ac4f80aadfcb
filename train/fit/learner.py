"""A network and its optimizer, on one or several processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from train.errors import DivergedError
from train.fit.config import OptimizerOptions, RuntimeOptions

Network = TypeVar("Network", bound=nn.Module)


@dataclass
class Learner(Generic[Network]):
    """A network and its optimizer.

    Every process has the same weights and steps by the mean of all gradients. They are averaged explicitly: a
    critic runs several times before each backward pass, and a generator's backward pass runs through the
    critic, neither of which DistributedDataParallel's hooks support.

    Attributes:
        name: name in messages.
        network: the network, on its device and in its memory layout.
        options: options of the optimizer.
        runtime: precision and memory layout.
        fabric: a launched Fabric.
        rate: factor of the learning rate at a step.
        clip: largest norm of the gradient; 0 disables clipping.
    """

    name: str
    network: Network
    options: OptimizerOptions
    runtime: RuntimeOptions
    fabric: Fabric
    rate: Callable[[int], float]
    clip: float = 0.0

    def __post_init__(self) -> None:
        self.network = place(self.network, self.runtime, self.fabric)
        optimizer = self.options.build(self.network.parameters())
        self.optimizer = cast(torch.optim.Optimizer, self.fabric.setup_optimizers(optimizer))

    def descend(self, step: int, loss: Tensor, terms: Mapping[str, Tensor] | None = None) -> dict[str, float]:
        """Take an optimizer step for a scalar loss.

        Args:
            step: counted from 0.
            loss: scalar.
            terms: other scalars to read; reading a value stalls the GPU, so all are read at once.

        Returns:
            values of the loss, under the learner's name, and of the terms.

        Raises:
            DivergedError: the loss or its gradient is not finite; the weights are unchanged.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.learning_rate * self.rate(step)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        self._average_gradients()
        norm = self.fabric.clip_gradients(
            self.network, self.optimizer, max_norm=self.clip or math.inf, error_if_nonfinite=False
        )
        assert norm is not None
        scalars = {self.name: loss, **(terms or {})}
        *values, length = torch.stack([*(scalar.detach() for scalar in scalars.values()), norm]).tolist()
        self._check("loss", values[0], step)
        if self.runtime.precision != "16-mixed":  # its scaler skips such a step and continues
            self._check("gradient norm", length, step)
        self.optimizer.step()
        return dict(zip(scalars, values, strict=True))

    def _average_gradients(self) -> None:
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        if self.fabric.world_size == 1 or not gradients:
            return
        flat = self.fabric.all_reduce(torch.cat([g.flatten() for g in gradients]), reduce_op="mean")
        assert isinstance(flat, Tensor)
        means = torch.split(flat, [g.numel() for g in gradients])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view(gradient.shape))

    def _check(self, what: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            raise DivergedError(
                f"the {self.name}'s {what} is {value} at step {step}, expected a finite number; "
                "try a lower learning rate or a smaller clip"
            )


def place(module: Network, runtime: RuntimeOptions, fabric: Fabric) -> Network:
    """Move a module to the run's device and memory layout."""
    return cast(Network, fabric.to_device(module.to(memory_format=memory_layout(runtime))))  # type: ignore[call-overload]


def memory_layout(runtime: RuntimeOptions) -> torch.memory_format:
    """Return the memory layout of a run's networks and batches."""
    return torch.channels_last if runtime.channels_last else torch.contiguous_format
