"""DCGAN on 32 × 32 pictures (Radford et al., ICLR 2016), with a choice of adversarial losses."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from train.data.cifar import is_cifar, read_cifar
from train.data.crops import small_squares
from train.errors import ConfigError
from train.measure.fidelity import FeatureNetwork, InceptionFeatures, VggFeatures
from train.networks.critics import Critic
from train.networks.layers import init_normal
from train.recipes.examples import PictureExamples
from train.recipes.run import Recipe

NOISE = 128
"""Length of the noise vector."""
SIZE = 32


class DcganGenerator(nn.Module):
    """Generator of 32 × 32 colour pictures.

    ========  =========================  ===============================================
    stage     output (default width)     operation
    ========  =========================  ===============================================
    noise     128                        N(0, 1)
    base      512, 2, 2                  dense 2048, batch norm, ReLU
    ups[0]    256, 4, 4                  transposed conv 4×4 stride 2, batch norm, ReLU
    ups[1]    128, 8, 8                  transposed conv 4×4 stride 2, batch norm, ReLU
    ups[2]    64, 16, 16                 transposed conv 4×4 stride 2, batch norm, ReLU
    head      3, 32, 32                  transposed conv 4×4 stride 2, tanh
    ========  =========================  ===============================================

    Args:
        width: channels of the base; a multiple of 8.
        kernel: side of the kernels, 3 to 5; all are padded so that a stage doubles the size exactly.
    """

    def __init__(self, width: int = 512, kernel: int = 4) -> None:
        super().__init__()
        widths = [width, width // 2, width // 4, width // 8]
        self.base = nn.Sequential(
            nn.Linear(NOISE, 4 * width, bias=False),
            nn.Unflatten(1, (width, 2, 2)),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.ups = nn.Sequential()
        for before, after in pairwise(widths):
            self.ups.extend([_up(before, after, kernel, bias=False), nn.BatchNorm2d(after), nn.ReLU()])
        self.head = nn.Sequential(_up(widths[-1], 3, kernel, bias=True), nn.Tanh())
        self.apply(init_normal)

    def forward(self, noise: Tensor) -> Tensor:
        """(N, 128) to (N, 3, 32, 32) in [-1, 1]."""
        return self.head(self.ups(self.base(noise)))  # type: ignore[no-any-return]


class DcganCritic(Critic):
    """The generator mirrored; convolutions 4×4 of stride 2, LeakyReLU 0.2.

    ========  =========================  ==========================
    stage     output (default width)     operation
    ========  =========================  ==========================
    input     3, 32, 32
    1         64, 16, 16                 conv, act
    2         128, 8, 8                  conv, norm, act
    3         256, 4, 4                  conv, norm, act
    4         512, 2, 2                  conv, norm, act
    score     1                          dense
    ========  =========================  ==========================

    Args:
        width: channels of the last convolution; a multiple of 8.
        kernel: side of the kernels, 3 to 5.
        batch_norm: batch norm, else layer norm, for a penalty on each picture's gradient (Gulrajani et al.,
            NIPS 2017, section 4).
    """

    def __init__(self, width: int = 512, kernel: int = 4, batch_norm: bool = True) -> None:
        super().__init__(conditional=False)
        widths = [width // 8, width // 4, width // 2, width]
        padding = (kernel - 1) // 2
        self.layers.extend([nn.Conv2d(3, widths[0], kernel, 2, padding), nn.LeakyReLU(0.2)])
        for before, after in pairwise(widths):
            norm = nn.BatchNorm2d(after) if batch_norm else nn.GroupNorm(1, after)
            conv = nn.Conv2d(before, after, kernel, 2, padding, bias=False)
            self.layers.extend([conv, norm, nn.LeakyReLU(0.2)])
        self.layers.extend([nn.Flatten(), nn.Linear(4 * width, 1)])
        self.apply(init_normal)


def _up(before: int, after: int, kernel: int, bias: bool) -> nn.ConvTranspose2d:
    """Transposed convolution that doubles the size, as TensorFlow's "SAME" padding does."""
    padding, more = (kernel - 1) // 2, kernel % 2
    return nn.ConvTranspose2d(before, after, kernel, 2, padding, output_padding=more, bias=bias)


@dataclass(frozen=True, kw_only=True)
class Dcgan(Recipe):
    """Options of DCGAN.

    Attributes:
        data: CIFAR-10's folder or archive, or a folder of pictures, from which squares are cut.
        width: channels at 2 × 2.
        kernel: side of the kernels.
        squares: number of squares to cut from pictures.
        measured: number of samples to measure.
        vgg: VGG16's weights with Caffe's input, for `FID[features=vgg16]`; empty for no score.
        inception: Inception's official weights, for FID, KID and IS; empty for none.
    """

    kind: str = "dcgan"
    data: str
    width: int = 512
    kernel: int = 4
    squares: int = 20_000
    measured: int = 1000
    vgg: str = ""
    inception: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 8 or self.width % 8:
            raise ConfigError(f"width is {self.width}, expected a multiple of 8")
        if self.kernel not in (3, 4, 5):
            raise ConfigError(f"kernel is {self.kernel}, expected 3, 4 or 5")

    def build_generator(self) -> DcganGenerator:
        """Build the generator with new weights."""
        return DcganGenerator(self.width, self.kernel)

    def build_critic(self) -> DcganCritic:
        """Build the critic with new weights."""
        return DcganCritic(self.width, self.kernel, batch_norm=self.loss != "wgan-gp")

    def open_examples(self, folder: Path) -> PictureExamples:
        """Read the data, and the features of some real pictures."""
        data = Path(self.data)
        network: FeatureNetwork | None = None
        pictures = read_cifar(data)[0] if is_cifar(data) else small_squares(data, SIZE, self.squares)
        if self.inception:
            network = InceptionFeatures(Path(self.inception))
        elif self.vgg:
            network = VggFeatures(Path(self.vgg))
        return PictureExamples(pictures, NOISE, network, self.measured)

    def generate(self, generator: nn.Module, condition: Tensor) -> Tensor:
        """Make a picture for each row of the condition, which is empty."""
        return generator(torch.randn(len(condition), NOISE, device=condition.device))  # type: ignore[no-any-return]
