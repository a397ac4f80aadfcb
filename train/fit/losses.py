"""Losses as pure functions; each returns a scalar.

Pixel losses take (N, 3, H, W) in [-1, 1]. Adversarial losses take a critic's scores, of any shape; those of
the original GAN interpret a score as the logit of "this is a sharp picture".
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def l1(restored: Tensor, sharp: Tensor) -> Tensor:
    """Mean absolute difference."""
    return F.l1_loss(restored, sharp)


def charbonnier(restored: Tensor, sharp: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean of sqrt(d² + ε²): L1, smooth at zero (Charbonnier et al., ICIP 1994)."""
    return torch.sqrt((restored - sharp).square() + epsilon**2).mean()


def frequency(restored: Tensor, sharp: Tensor) -> Tensor:
    """Mean absolute difference of the 2-D spectra, real and imaginary (Cho et al., ICCV 2021, eq. 6)."""
    difference = torch.fft.rfft2(restored - sharp)
    return torch.view_as_real(difference).abs().mean()


def psnr(restored: Tensor, sharp: Tensor, floor: float = 1e-3) -> Tensor:
    """Mean of -PSNR / 10 over the pictures: 0.1 less is a gain of 1 dB (Chen et al., HINet, CVPRW 2021).

    The floor of the squared error, about 36 dB, keeps pictures that are almost right from counting most.
    """
    error = (restored - sharp).square().mean((1, 2, 3))
    return torch.log10((error + floor) / 4).mean()  # 4 is the square of the range


def perceptual(features: Callable[[Tensor], Tensor], restored: Tensor, sharp: Tensor) -> Tensor:
    """Mean squared difference of a network's features (Kupyn et al., DeblurGAN, CVPR 2018, eq. 4)."""
    return F.mse_loss(features(restored), features(sharp).detach())


def wgan_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Loss of a Wasserstein critic (Arjovsky et al., ICML 2017, algorithm 1), also for WGAN-GP."""
    return fake.mean() - real.mean()


def wgan_generator(fake: Tensor) -> Tensor:
    """Loss of the generator against a Wasserstein critic (Kupyn et al., DeblurGAN, CVPR 2018, eq. 3)."""
    return -fake.mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """Mean of (‖∇D(x̂)‖₂ - 1)², x̂ between a real and a fake picture (Gulrajani et al., NIPS 2017, eq. 3).

    The norm is over the whole picture, all channels and pixels; without the weight λ.
    """
    # Drawn on the host: each kind of device has another generator, and a seed would mean another run on each.
    between = torch.rand(len(real), 1, 1, 1).to(real.device, non_blocking=True)
    mixed = torch.lerp(real.detach(), fake.detach(), between).requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    length: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return (length - 1).square().mean()


def lsgan_critic(real: Tensor, fake: Tensor, a: float, b: float) -> Tensor:
    """½ E(D(real) - b)² + ½ E(D(fake) - a)² (Mao et al., LSGAN, ICCV 2017, eq. 2)."""
    return ((real - b).square().mean() + (fake - a).square().mean()) / 2


def lsgan_generator(fake: Tensor, c: float) -> Tensor:
    """½ E(D(fake) - c)² (Mao et al., LSGAN, ICCV 2017, eq. 2)."""
    return (fake - c).square().mean() / 2


def gan_critic(real: Tensor, fake: Tensor) -> Tensor:
    """-E log σ(D(real)) - E log(1 - σ(D(fake))) (Goodfellow et al., NIPS 2014, eq. 1)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def gan_minimax_generator(fake: Tensor) -> Tensor:
    """E log(1 - σ(D(fake))), the minimax game (Goodfellow et al., NIPS 2014, eq. 1)."""
    return -F.softplus(fake).mean()


def gan_nonsaturating_generator(fake: Tensor) -> Tensor:
    """-E log σ(D(fake)), stronger gradients early on (Goodfellow et al., NIPS 2014, section 3)."""
    return F.softplus(-fake).mean()
