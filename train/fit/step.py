"""Training step: the critic's, if there is one, then the generator's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from train.fit import losses
from train.fit.average import MovingAverage
from train.fit.checkpoint import Parts, start_from
from train.fit.config import AdversarialOptions, Config, RuntimeOptions
from train.fit.graph import Graph, undone
from train.fit.learner import Learner, memory_layout, place
from train.fit.readings import READ_EVERY, Readings
from train.networks.critics import Critic
from train.networks.generators import Generator
from train.networks.winograd import use_winograd

Rate = Callable[[int], float]
"""Maps a step to the factor of its learning rate."""


class Step:
    """The networks of a run and their training step.

    Args:
        config: configuration of the run.
        fabric: launched; provides device, precision and the other processes.
        rate: factor of the learning rate at a step; by default from the configuration's schedule.
    """

    def __init__(self, config: Config, fabric: Fabric, rate: Rate | None = None) -> None:
        torch.manual_seed(config.seed)  # the same weights in every process
        self.config, self.fabric = config, fabric
        generator = config.generator.build()
        if config.start:
            start_from(Path(config.start), generator)
        if config.runtime.winograd:
            use_winograd(generator)
        rate = rate or config.schedule.factor
        optimizer, runtime, self._readings = config.optimizer, config.runtime, Readings()
        self._learner = Learner(
            "generator", generator, optimizer, runtime, fabric, rate, self._readings, config.clip
        )
        self.generator: Generator = self._learner.network
        self._residual = self.generator.residual
        self._graph: Graph[dict[str, Tensor]] | None = None
        self._averaged = MovingAverage(self.generator, config.ema) if config.ema else None
        vgg = config.loss.build_vgg()
        self._vgg = vgg and place(vgg, runtime, fabric)
        game = config.adversarial
        self._rival = (
            Rival(game, game.critic.build(), runtime, fabric, rate, self._readings) if game else None
        )

    def compile(self) -> str:
        """Compile the generator, forward and backward.

        Returns:
            one line on why it runs uncompiled instead; empty if it is compiled.
        """
        compiled = torch.compile(self.generator.residual, dynamic=False)
        try:
            with undone({"generator": self.generator}):
                with self.fabric.autocast():
                    change = compiled(self._zeros())
                torch.autograd.backward(change.float().sum())
        except Exception as error:  # a compiler may raise anything
            return _line(error)
        finally:
            self.generator.zero_grad(set_to_none=True)
        self._residual = compiled
        return ""

    def capture(self) -> str:
        """Capture the generator's step as a CUDA graph, where `RuntimeOptions.graphs` allows it.

        Load a checkpoint and compile before: the graph keeps the addresses of all tensors.

        Returns:
            one line on why the capture failed; empty if it did not, or was not tried.
        """
        if not self._may_be_captured():
            return ""
        self.generator.train()
        try:
            with undone(self.parts):
                self._graph = Graph(self._advance, self._zeros(), self._zeros())
        except Exception as error:  # among them the compiler's
            return _line(error.__context__ or error)  # PyTorch raises another one when it ends the capture
        return ""

    def _may_be_captured(self) -> bool:
        # A graph cannot be seeded for each step, as dropout is, and a learner that waits would stop in it.
        drops = any(isinstance(module, nn.Dropout) and module.p for module in self.generator.modules())
        single = self.fabric.world_size == 1 and not self._rival
        return self.config.runtime.graphs and single and not drops and not self._learner.waits

    def _zeros(self) -> Tensor:
        size, layout = self.config.crop, memory_layout(self.config.runtime)
        x = torch.zeros(self.config.batch, 3, size, size, device=self.fabric.device)
        return x.contiguous(memory_format=layout)

    @property
    def parts(self) -> Parts:
        """Contents of a checkpoint."""
        parts: dict[str, nn.Module | torch.optim.Optimizer] = {
            "generator": self.generator,
            "optimizer": self._learner.optimizer,
        }
        if self._averaged:
            parts["ema"] = self._averaged
        if self._rival:
            parts |= {"critic": self._rival.critic, "critic_optimizer": self._rival.learner.optimizer}
        return parts

    @property
    def restorer(self) -> Generator:
        """Generator for validation, with averaged weights if available."""
        return cast(Generator, self._averaged.module) if self._averaged else self.generator

    def __call__(self, step: int, blurred: Tensor, sharp: Tensor) -> list[dict[str, float]]:
        """Take a step on a batch of (N, 3, H, W) in [-1, 1].

        Returns:
            weighted losses by name of each step that has just been read: of this one on the CPU; on a GPU of
            the last `READ_EVERY` steps, or of none.

        Raises:
            DivergedError: a loss or a gradient of one of these steps is not finite; that step did not
                change the network.
        """
        if self._graph:
            self._learner.set_rate(step)
            self._readings.add(step, self._learner.name, self._graph(blurred, sharp))
        else:
            self._descend(step, blurred, sharp)
        if self._averaged:
            self._averaged.update_parameters(self.generator)
        if (step + 1) % READ_EVERY == 0:
            self._readings.read()
        return self._readings.take()

    def read(self) -> list[dict[str, float]]:
        """Wait for all steps taken; return the losses of those that have not been read yet, oldest first.

        Raises:
            DivergedError: see above.
        """
        self._readings.read()
        return self._readings.take()

    def _descend(self, step: int, blurred: Tensor, sharp: Tensor) -> None:
        # Dropout and the penalty are seeded by step and process, so that a resumed run draws the same values.
        entropy = np.random.SeedSequence([self.config.seed, step, self.fabric.global_rank])
        torch.manual_seed(int(entropy.generate_state(1)[0]))
        self.generator.train()
        restored = self._restore(blurred)
        visible = restored.clamp(-1, 1)
        terms = self._content(restored, visible, sharp)
        if self._rival:
            self._rival.train(step, sharp, visible.detach(), blurred)
            terms["adversarial"] = self._rival.judge(visible, blurred)
        self._learner.descend(step, _sum(terms), terms)

    def _advance(self, blurred: Tensor, sharp: Tensor) -> dict[str, Tensor]:
        """Do the part of `_descend` that runs on the device; return the learner's scalars."""
        restored = self._restore(blurred)
        terms = self._content(restored, restored.clamp(-1, 1), sharp)
        scalars = self._learner.compute_gradients(_sum(terms), terms)
        self._learner.optimizer.step()
        return scalars

    def _restore(self, blurred: Tensor) -> Tensor:
        with self.fabric.autocast():
            residual = self._residual(blurred)
        return blurred + residual.float()

    def _content(self, restored: Tensor, visible: Tensor, sharp: Tensor) -> dict[str, Tensor]:
        """Compute the weighted losses against the sharp picture; pixel losses use the unclipped output."""
        options, terms = self.config.loss, {}
        if options.l1:
            terms["l1"] = options.l1 * losses.l1(restored, sharp)
        if options.charbonnier:
            terms["charbonnier"] = options.charbonnier * losses.charbonnier(restored, sharp)
        if options.frequency:
            terms["frequency"] = options.frequency * losses.frequency(restored, sharp)
        if options.psnr:
            terms["psnr"] = options.psnr * losses.psnr(restored, sharp)
        if self._vgg:
            terms["perceptual"] = options.perceptual * losses.perceptual(self._vgg, visible, sharp)
        return terms


class Rival:
    """The critic of a game, always in float32: half precision is too coarse for second derivatives.

    Args:
        options: the game, the critic's optimizer and its steps.
        critic: the network.
        runtime: devices and memory layout.
        fabric: launched.
        rate: factor of the learning rate at a step.
        readings: gets the critic's losses.
    """

    def __init__(
        self,
        options: AdversarialOptions,
        critic: Critic,
        runtime: RuntimeOptions,
        fabric: Fabric,
        rate: Rate,
        readings: Readings,
    ) -> None:
        self.options = options
        self.learner = Learner("critic", critic, options.optimizer, runtime, fabric, rate, readings)
        self.critic: Critic = self.learner.network

    def train(self, step: int, sharp: Tensor, restored: Tensor, blurred: Tensor) -> None:
        """Take the critic's steps, all on one batch as the paper's authors do."""
        self.critic.requires_grad_(True)
        for _ in range(self.options.critic_steps):
            loss = self.options.game.critic_loss(self.critic, sharp, restored, blurred)
            self.learner.descend(step, loss)
            self.options.game.constrain(self.critic)

    def judge(self, restored: Tensor, blurred: Tensor) -> Tensor:
        """Compute the generator's weighted loss; its backward pass does not affect the critic."""
        self.critic.requires_grad_(False)
        return self.options.weight * self.options.game.generator_loss(self.critic(restored, blurred))


def _sum(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
