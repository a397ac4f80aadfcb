from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from train.fit import losses
from train.fit.adversarial import Game, Gan, Lsgan, Wgan, WganGp
from train.networks.critics import Critic, PatchCriticOptions

REAL, FAKE = torch.tensor([1.0, 3.0]), torch.tensor([0.0, -1.0])


def test_pixel_losses_match_their_formulas() -> None:
    a, b = torch.tensor([[[[0.0, 3.0]]]]), torch.tensor([[[[0.0, -1.0]]]])
    assert losses.l1(a, b) == 2
    assert losses.charbonnier(a, b, epsilon=3).item() == pytest.approx((3 + 5) / 2)  # 3-4-5


def test_frequency_loss_is_the_mean_of_the_spectrum_s_parts() -> None:
    a, b = torch.rand(2, 3, 6, 8), torch.rand(2, 3, 6, 8)
    spectrum = np.fft.rfft2((a - b).numpy().astype(np.float64))
    wanted = (np.abs(spectrum.real) + np.abs(spectrum.imag)).mean() / 2
    assert losses.frequency(a, b).item() == pytest.approx(wanted, rel=1e-5)  # float32


def test_psnr_loss_falls_by_a_tenth_per_decibel_of_each_picture() -> None:
    sharp = torch.zeros(2, 3, 8, 8)
    errors = torch.tensor([0.5, 0.05]).view(2, 1, 1, 1)  # about 12 and 32 dB below the range of 2
    wanted = -sum(20 * math.log10(2 / error) for error in (0.5, 0.05)) / 2 / 10
    assert losses.psnr(sharp + errors, sharp, floor=0).item() == pytest.approx(wanted, rel=1e-5)
    assert losses.psnr(sharp, sharp).item() == pytest.approx(math.log10(1e-3 / 4), rel=1e-5)  # not -infinity


def test_perceptual_loss_is_the_mean_square_of_features_with_gradients_only_for_the_restored() -> None:
    restored = torch.tensor([1.0, 2.0], requires_grad=True)
    sharp = torch.tensor([1.0, 1.0], requires_grad=True)
    loss = losses.perceptual(lambda x: 3 * x, restored, sharp)
    loss.backward()
    assert loss.item() == 4.5  # (0 + 3²) / 2
    assert restored.grad is not None
    assert sharp.grad is None


def test_wasserstein_losses_match_their_formulas() -> None:
    assert losses.wgan_critic(REAL, FAKE) == -2.5
    assert losses.wgan_generator(FAKE) == 0.5


@pytest.mark.parametrize(("a", "b", "c", "critic", "generator"), [
    (-1, 1, 0, (0 + 4) / 4 + (1 + 0) / 4, (0 + 1) / 4),
    (0, 1, 1, (0 + 4) / 4 + (0 + 1) / 4, (1 + 4) / 4),
])  # fmt: skip
def test_least_squares_losses_match_their_formulas(
    a: float, b: float, c: float, critic: float, generator: float
) -> None:
    assert losses.lsgan_critic(REAL, FAKE, a, b).item() == pytest.approx(critic)
    assert losses.lsgan_generator(FAKE, c).item() == pytest.approx(generator)


def test_the_original_gan_s_losses_are_logarithms_of_probabilities() -> None:
    def sigma(score: float) -> float:
        return 1 / (1 + math.exp(-score))

    critic = -(math.log(sigma(1)) + math.log(sigma(3))) / 2
    critic -= (math.log(1 - sigma(0)) + math.log(1 - sigma(-1))) / 2
    assert losses.gan_critic(REAL, FAKE).item() == pytest.approx(critic)
    minimax = (math.log(1 - sigma(0)) + math.log(1 - sigma(-1))) / 2
    assert losses.gan_minimax_generator(FAKE).item() == pytest.approx(minimax)
    heuristic = -(math.log(sigma(0)) + math.log(sigma(-1))) / 2
    assert losses.gan_nonsaturating_generator(FAKE).item() == pytest.approx(heuristic)


def test_the_penalty_s_norm_is_over_the_whole_picture() -> None:
    # D(x) = Σ w·x has the gradient w everywhere: its length over 3×4×5 values is |w|·√60. A norm over the
    # a norm only over channels would be |w|·√3 at every pixel.
    w = 0.5
    got = losses.gradient_penalty(
        lambda x: (w * x).sum((1, 2, 3)), torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    )
    assert got.item() == pytest.approx((w * math.sqrt(60) - 1) ** 2, rel=1e-5)


def test_the_penalty_samples_one_point_between_each_real_and_fake() -> None:
    seen: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.square().sum((1, 2, 3))

    losses.gradient_penalty(critic, torch.zeros(4, 3, 2, 2), torch.ones(4, 3, 2, 2))
    places = seen[0].flatten(1)
    assert (places == places[:, :1]).all()
    assert len(places[:, 0].unique()) == 4
    assert ((places >= 0) & (places <= 1)).all()


def test_the_penalty_s_points_do_not_depend_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Tensor] = []
    rand = torch.rand

    def recorded(*size: int, **options: Any) -> Tensor:
        drawn.append(rand(*size, **options))
        return drawn[-1]

    monkeypatch.setattr(torch, "rand", recorded)
    there = torch.zeros(4, 3, 2, 2, device="meta")
    loss = losses.gradient_penalty(lambda x: x.square().sum((1, 2, 3)), there, there)
    assert loss.device.type == "meta"
    assert [draw.device.type for draw in drawn] == ["cpu"]


def test_the_penalty_has_gradients() -> None:
    critic = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
    losses.gradient_penalty(critic, torch.rand(2, 3, 2, 2), torch.rand(2, 3, 2, 2)).backward()
    assert critic[1].weight.grad.abs().sum() > 0  # type: ignore[union-attr]


def small_critic() -> Critic:
    return PatchCriticOptions(width=4).build()


def batch() -> tuple[Tensor, Tensor, Tensor]:
    sharp, restored, blurred = torch.rand(3, 2, 3, 32, 32) * 2 - 1
    return sharp, restored, blurred


def test_wgan_gp_penalises_the_gradient() -> None:
    # A configuration that says WGAN-GP and trains a plain GAN would not depend on λ, and not be linear in it.
    critic, data = small_critic(), batch()
    values = []
    for penalty in (0.0, 10.0, 20.0):
        torch.manual_seed(0)
        values.append(WganGp(penalty=penalty).critic_loss(critic, *data).item())
    sharp, restored, blurred = data
    wasserstein = (critic(restored, blurred).mean() - critic(sharp, blurred).mean()).item()
    assert values[0] == pytest.approx(wasserstein, abs=1e-6)
    assert values[1] > values[0] + 1
    assert values[2] - values[1] == pytest.approx(values[1] - values[0], rel=1e-4)


def test_clipping_keeps_every_weight_within() -> None:
    critic = small_critic()
    with torch.no_grad():
        for weight in critic.parameters():
            weight.normal_()
    Wgan(clip=0.01).constrain(critic)
    assert max(float(w.detach().abs().max()) for w in critic.parameters()) == pytest.approx(0.01)


@pytest.mark.parametrize(
    "game", [WganGp(), Wgan(), Lsgan(), Lsgan(a=-1, b=1, c=0), Gan(), Gan(saturating=True)]
)
def test_each_game_separates_real_from_fake(game: Game) -> None:
    """The critic's descent lowers a fake's score, the generator's raises it."""
    critic, (sharp, restored, blurred) = small_critic(), batch()
    optimizer = torch.optim.SGD(critic.parameters(), 1e-4)
    before = (critic(sharp, blurred) - critic(restored, blurred)).mean().item()
    torch.manual_seed(0)
    game.critic_loss(critic, sharp, restored, blurred).backward()
    if isinstance(game, WganGp):  # the penalty has its own will
        critic.zero_grad()
        losses.wgan_critic(critic(sharp, blurred), critic(restored, blurred)).backward()
    optimizer.step()
    assert (critic(sharp, blurred) - critic(restored, blurred)).mean().item() > before
    score = torch.tensor(-0.5, requires_grad=True)
    game.generator_loss(score).backward()
    assert score.grad is not None
    assert score.grad < 0  # descent raises the score


def test_the_saturating_loss_has_small_gradients_if_the_critic_wins() -> None:
    score = torch.tensor(-6.0, requires_grad=True)
    (weak,) = torch.autograd.grad(Gan(saturating=True).generator_loss(score), score)
    (strong,) = torch.autograd.grad(Gan().generator_loss(score), score)
    assert abs(weak) < 0.01 < 0.99 < abs(strong)
