"""A network and its optimizer, on one or several processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from train.fit.config import OptimizerOptions, RuntimeOptions
from train.fit.readings import NORM, Readings

ASYNCHRONOUS = frozenset({"cuda"})
"""Types of devices that compute while the host continues."""
Network = TypeVar("Network", bound=nn.Module)


@dataclass
class Learner(Generic[Network]):
    """A network and its optimizer.

    Every process has the same weights and steps by the mean of all gradients. They are averaged explicitly: a
    critic runs several times before each backward pass, and a generator's backward pass runs through the
    critic, neither of which DistributedDataParallel's hooks support.

    A step whose loss or gradient is not finite leaves the weights as they are. Usually the host looks at both
    before it takes the step; on a GPU, Adam and AdamW look themselves, so that the host need not wait.

    Attributes:
        name: name in messages.
        network: the network, on its device and in its memory layout.
        options: options of the optimizer.
        runtime: precision and memory layout.
        fabric: a launched Fabric.
        rate: factor of the learning rate at a step.
        readings: gets the losses and gradient norms of all steps.
        clip: largest norm of the gradient; 0 disables clipping.
        waits: whether the host looks at loss and gradient before each step.
    """

    name: str
    network: Network
    options: OptimizerOptions
    runtime: RuntimeOptions
    fabric: Fabric
    rate: Callable[[int], float]
    readings: Readings
    clip: float = 0.0

    def __post_init__(self) -> None:
        self.network = place(self.network, self.runtime, self.fabric)
        asynchronous = self.fabric.device.type in ASYNCHRONOUS
        fused = asynchronous and self.options.kind != "rmsprop" and self.runtime.precision != "16-mixed"
        self.waits = not fused
        self._unwrapped = self.options.build(self.network.parameters(), fused)
        self.optimizer = cast(torch.optim.Optimizer, self.fabric.setup_optimizers(self._unwrapped))

    def descend(self, step: int, loss: Tensor, terms: Mapping[str, Tensor] | None = None) -> None:
        """Take an optimizer step for a scalar loss.

        Args:
            step: counted from 0.
            loss: scalar.
            terms: other scalars for the readings.

        Raises:
            DivergedError: the host waits, and the loss or its gradient is not finite; the weights are
                unchanged.
        """
        self.set_rate(step)
        self.readings.add(step, self.name, self.compute_gradients(loss, terms))
        if self.waits:
            self.readings.read()
        self.optimizer.step()

    def set_rate(self, step: int) -> None:
        """Set the learning rate of a step, counted from 0."""
        value = self.options.learning_rate * self.rate(step)
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(value)
            else:
                group["lr"] = value

    def compute_gradients(self, loss: Tensor, terms: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Compute the gradients of a scalar loss: averaged over the processes, and clipped.

        Returns:
            scalars for the readings: the loss under the learner's name, the terms, and the gradient's norm.
        """
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        self._average_gradients()
        norm = self.fabric.clip_gradients(
            self.network, self.optimizer, max_norm=self.clip or math.inf, error_if_nonfinite=False
        )
        assert norm is not None
        scalars = {name: scalar.detach() for name, scalar in {self.name: loss, **(terms or {})}.items()}
        if not self.waits:  # PyTorch's fused optimizers skip a step if this is 1
            self._unwrapped.found_inf = (~torch.isfinite(loss.detach() + norm)).float()  # type: ignore[attr-defined]
        if self.runtime.precision != "16-mixed":  # its scaler skips such a step and continues
            scalars[NORM] = norm
        return scalars

    def _average_gradients(self) -> None:
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        if self.fabric.world_size == 1 or not gradients:
            return
        flat = self.fabric.all_reduce(torch.cat([g.flatten() for g in gradients]), reduce_op="mean")
        assert isinstance(flat, Tensor)
        means = torch.split(flat, [g.numel() for g in gradients])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view(gradient.shape))


def place(module: Network, runtime: RuntimeOptions, fabric: Fabric) -> Network:
    """Move a module to the run's device and memory layout."""
    return cast(Network, fabric.to_device(module.to(memory_format=memory_layout(runtime))))  # type: ignore[call-overload]


def memory_layout(runtime: RuntimeOptions) -> torch.memory_format:
    """Return the memory layout of a run's networks and batches."""
    return torch.channels_last if runtime.channels_last else torch.contiguous_format
