"""What the adversarial losses do, drawn by the losses themselves: `python -m train lecture`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.data.pictures import Picture, read_picture, write_picture
from train.fit import losses
from train.fit.adversarial import Game, Wgan, WganGp
from train.fit.config import ScheduleOptions
from train.fit.journal import read_rows
from train.measure.chart import Line, line_chart, scatter
from train.recipes.ring import Ring, RingCritic, RingExamples
from train.recipes.run import GAMES, Loss, train

_RIVALS: tuple[Loss, ...] = ("minimax", "lsgan", "wgan-gp")
_FARTHEST = 8.0
_POINTS = 4000
CRITIC_STEPS = 400
"""Steps of the critics whose slopes are drawn."""


def write_lecture(folder: Path, steps: int) -> Path:
    """Draw the figures to a folder, with a page that explains them; return the page.

    Args:
        folder: output folder; small GANs are trained in it, or continued.
        steps: generator steps of the small GANs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "divergences": divergence_chart(),
        "gradients": gradient_chart(),
        "penalty": penalty_chart(),
        "boundary": boundary_picture(),
        "critic": critic_chart(),
        "vanishing": vanishing_chart(),
    }
    figures["ring"], figures["ring-curves"] = ring_pictures(folder, steps)
    for name, picture in figures.items():
        write_picture(folder / f"{name}.png", picture)
    page = folder / "lecture.md"
    page.write_text(_PAGE, encoding="utf-8")
    return page


def points() -> Tensor:
    """Points of N(0, 1) with equal probabilities, so that their mean is an expectation: (4000,)."""
    shares = (torch.arange(_POINTS, dtype=torch.float64) + 0.5) / _POINTS
    places: Tensor = torch.special.ndtri(shares)
    return places


def log_ratio(x: Tensor, distance: float) -> Tensor:
    """Log p(x) / q(x) of real N(0, 1) and fake N(distance, 1): the logit of the optimal critic."""
    return distance**2 / 2 - distance * x


def jensen_shannon(distance: float) -> float:
    """JS divergence of N(0, 1) and N(distance, 1): log 2 less half the optimal critic's loss."""
    x = points()
    optimum = losses.gan_critic(log_ratio(x, distance), log_ratio(x + distance, distance))
    return math.log(2) - float(optimum) / 2


def pearson(distance: float) -> float:
    """χ² of real + fake from 2 × fake, twice LSGAN's loss of both with a=-1, b=1, c=0 (Mao et al., eq. 8)."""
    x = points()
    scores = [torch.tanh(log_ratio(place, distance) / 2) for place in (x, x + distance)]
    return 2 * sum(float(losses.lsgan_generator(score, c=0)) for score in scores)


def wasserstein(distance: float) -> float:
    """Wasserstein distance, by the optimal critic of slope 1, D(x) = -x."""
    x = points()
    return -float(losses.wgan_critic(-x, -(x + distance)))


def divergence_chart() -> Picture:
    """Divergences over the distance of two Gaussians, as shares of their value at the largest distance."""
    kinds = {"JS": jensen_shannon, "Pearson chi²": pearson, "Wasserstein": wasserstein}
    places = np.linspace(0, _FARTHEST, 41).tolist()
    lines = {name: [(d, kind(d) / kind(_FARTHEST)) for d in places] for name, kind in kinds.items()}
    return line_chart("divergence, share of its value at 8 sigma", "distance of the means, sigma", lines)


GENERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "minimax": losses.gan_minimax_generator,
    "non-saturating": losses.gan_nonsaturating_generator,
    "least squares": lambda logit: losses.lsgan_generator(torch.tanh(logit / 2), c=0),
}
"""Losses of a generator by the logit of the optimal critic; that of least squares is tanh(logit / 2)."""


def pull(name: str, distance: float) -> float:
    """Gradient by which a loss moves the fake N(distance, 1), against the optimal critic."""
    x = (points() + distance).requires_grad_()
    loss = losses.wgan_generator(-x) if name == "Wasserstein" else GENERATORS[name](log_ratio(x, distance))
    (gradient,) = torch.autograd.grad(loss, x)
    return abs(float(gradient.sum()))


def gradient_chart() -> Picture:
    """Gradients of the generator's losses over the distance of two Gaussians."""
    places = np.linspace(0.1, _FARTHEST, 41).tolist()
    lines = {name: [(d, pull(name, d)) for d in places] for name in (*GENERATORS, "Wasserstein")}
    return line_chart("generator's gradient, optimal critic", "distance of the means, sigma", lines)


def penalty_chart() -> Picture:
    """Loss of a fake, and its slope, over the score that the critic gives it."""
    scores = torch.linspace(-6, 6, 49, dtype=torch.float64).requires_grad_()
    kinds = {
        "sigmoid": losses.gan_nonsaturating_generator,
        "least squares": lambda score: losses.lsgan_generator(score, c=1),
    }
    values: dict[str, Line] = {}
    slopes: dict[str, Line] = {}
    for name, kind in kinds.items():
        each = torch.vmap(kind)(scores)
        (slope,) = torch.autograd.grad(each.sum(), scores)
        values[name] = list(zip(scores.tolist(), each.tolist(), strict=True))
        slopes[name] = list(zip(scores.tolist(), slope.abs().tolist(), strict=True))
    label = "score of the fake; real above 0 (sigmoid) or 0.5 (least squares)"
    charts = {"loss of a fake": values, "size of its gradient": slopes}
    return np.vstack([line_chart(title, label, lines) for title, lines in charts.items()])


def boundary_picture() -> Picture:
    """Linear critics of both losses on the same points, some of them fakes far on the real side."""
    generator = torch.Generator().manual_seed(3)
    real = torch.randn(120, 2, generator=generator, dtype=torch.float64) * 0.4 + torch.tensor([0.7, 0.7])
    fake = torch.randn(120, 2, generator=generator, dtype=torch.float64) * 0.4 - torch.tensor([0.7, 0.7])
    fake[:12] = torch.randn(12, 2, generator=generator, dtype=torch.float64) * 0.15 + torch.tensor([2.2, 1.0])
    lines = {
        "sigmoid": _boundary(real, fake, losses.gan_critic, 0.0),
        "least squares": _boundary(real, fake, lambda r, f: losses.lsgan_critic(r, f, a=0, b=1), 0.5),
    }
    return scatter("decision boundaries", 3.0, {"real": real.tolist(), "fake": fake.tolist()}, lines)


def _boundary(
    real: Tensor, fake: Tensor, loss: Callable[[Tensor, Tensor], Tensor], level: float
) -> list[tuple[float, float]]:
    """Fit D(x) = w·x + b by a loss; return two points of the line D = level."""
    weights = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(real @ weights[:2] + weights[2], fake @ weights[:2] + weights[2])
        torch.autograd.backward(value)
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    a, b, c = weights.tolist()
    direction, foot = np.array([-b, a]), np.array([a, b]) * (level - c)
    ends = [(foot + length * direction * math.hypot(a, b)) / (a * a + b * b) for length in (-6, 6)]
    return _clipped(ends, 3.0)


def _clipped(ends: list[NDArray[np.float64]], extent: float) -> list[tuple[float, float]]:
    """The part of a long line that lies within the extent."""
    shares = np.linspace(0, 1, 601)[:, None]
    places = ends[0] + shares * (ends[1] - ends[0])
    inside = places[np.abs(places).max(1) <= extent]
    return [(float(x), float(y)) for x, y in inside[[0, -1]]]


def critic_chart() -> Picture:
    """Norm of a critic's gradient in training against fixed fakes, under clipping and under the penalty."""
    games: dict[str, Game] = {"clip 0.01": Wgan(clip=0.01), "clip 0.1": Wgan(clip=0.1), "penalty": WganGp()}
    lines = {name: critic_norms(game, CRITIC_STEPS)[0] for name, game in games.items()}
    return line_chart("norm of the critic's gradient", "critic steps", lines)


def vanishing_chart() -> Picture:
    """Norm of the gradient that moves fixed fakes, while the critic gets better."""
    lines: dict[str, Line] = {name: critic_norms(GAMES[name], CRITIC_STEPS)[1] for name in _RIVALS}
    return line_chart("norm of a fake's gradient", "critic steps, with the fakes fixed", lines)


def critic_norms(game: Game, steps: int) -> tuple[Line, Line]:
    """Train a critic of the ring against fixed fakes around its centre.

    Returns:
        every twenty steps, the mean norm of the critic's gradient between real and fake points, and that of
        the generator's loss with respect to a fake.
    """
    torch.manual_seed(0)
    critic, examples, rng = RingCritic(64), RingExamples(""), np.random.default_rng(0)
    optimizer = torch.optim.RMSprop(critic.parameters(), 1e-3)
    slopes, pulls = [], []
    for step in range(steps + 1):
        real, condition = examples.draw(rng, 128)
        fake = torch.from_numpy(rng.normal(0, 0.3, real.shape).astype(np.float32)).requires_grad_()
        if step % 20 == 0:
            middle = torch.lerp(real, fake.detach(), torch.rand(len(real), 1, 1, 1)).requires_grad_()
            slopes.append((float(step), _mean_norm(critic(middle, condition).sum(), middle)))
            pull = len(fake) * game.generator_loss(critic(fake, condition))
            pulls.append((float(step), _mean_norm(pull, fake)))
        loss = game.critic_loss(critic, real, fake.detach(), condition)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        game.constrain(critic)
    return slopes, pulls


def _mean_norm(total: Tensor, points: Tensor) -> float:
    """Mean over points of the norm of the gradient of a total."""
    (gradient,) = torch.autograd.grad(total, points)
    return float(torch.linalg.vector_norm(gradient.flatten(1), dim=1).mean())


def ring_pictures(folder: Path, steps: int) -> tuple[Picture, Picture]:
    """Train the same generator against a too strong critic with three losses; draw samples and curves."""
    first = Ring(loss="minimax", critic_steps=5, schedule=ScheduleOptions(steps=steps))
    panels, rows = [], {}
    for loss in _RIVALS:
        run = folder / f"ring-{loss}"
        train(replace(first, loss=loss), run)
        panels.append(read_picture(max((run / "sheets").iterdir())))
        rows[loss] = read_rows(run)

    def lines(key: str) -> dict[str, Line]:
        return {name: [(row["step"], row[key]) for row in some if key in row] for name, some in rows.items()}

    modes = line_chart("modes found, of 8", "generator steps", lines("modes"))
    gradients = line_chart("norm of the generator's gradient", "generator steps", lines("gradient"))
    return np.hstack(panels), np.vstack([modes, gradients])


_PAGE = """\
# What the losses do

Every figure is computed by the trainer's own losses, `train/fit/losses.py` and `train/fit/adversarial.py`.

Real is N(0, 1), fake is N(d, 1), and each critic is the best one for its loss. The JS divergence is log 2
less half of the best critic's loss; Pearson's χ² is twice the least-squares loss with a = -1, b = 1, c = 0;
the Wasserstein distance is that of the critic D(x) = -x. The first two level off: they hardly say which of
two distant fakes is closer.

![](divergences.png)

A generator learns from the slope. Against the best critic, the minimax loss has none at a distance, nor has
least squares; that of the non-saturating loss grows, and Wasserstein's is 1 everywhere.

![](gradients.png)

Real critics are not perfect, and there least squares differs from the sigmoid loss: a fake that the critic
takes for real costs nothing under the sigmoid loss, however far it is from the real ones; least squares
pulls it back.

![](penalty.png)

The same, seen by the critic: twelve fakes lie far on the real side.

![](boundary.png)

A Wasserstein critic must have slopes of at most 1. Clipping its weights gives slopes that depend on the
limit; the penalty on the norm of the gradient keeps it near 1.

![](critic.png)

Fakes in the middle of a ring of real points stay fixed while their critic trains: the better the critic, the
less of the minimax loss's gradient is left.

![](vanishing.png)

Eight points on a ring, the same generator, seed and number of steps, five critic steps to one.

![](ring.png)
![](ring-curves.png)
"""
