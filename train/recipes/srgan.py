"""SRGAN: pictures enlarged two or four times (Ledig et al., CVPR 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from train.data.pictures import list_pictures
from train.errors import ConfigError
from train.fit.checkpoint import load_checkpoint
from train.fit.config import AdversarialOptions
from train.networks.critics import Critic
from train.networks.vgg import Vgg
from train.recipes.examples import LowAndHigh
from train.recipes.run import Recipe


class SrganBlock(nn.Module):
    """x + norm(conv(act(norm(conv(x))))): convolutions 3×3, batch norm, PReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        conv = [nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2)]
        norm = [nn.BatchNorm2d(width) for _ in range(2)]
        self.layers = nn.Sequential(conv[0], norm[0], nn.PReLU(), conv[1], norm[1])

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return x + self.layers(x)  # type: ignore[no-any-return]


class SrganGenerator(nn.Module):
    """Generator of pictures `scale` times as large (Ledig et al., figure 4); any size.

    ==============  ===================  ==============================================
    stage           output (scale 4)     operation
    ==============  ===================  ==============================================
    input           3, H, W
    stem            64, H, W             conv 9×9, PReLU
    body[0..15]     64, H, W             residual blocks
    body[16]        64, H, W             conv 3×3, batch norm; + stem
    ups[0]          64, 2H, 2W           conv 3×3 to 256, pixel shuffle 2, PReLU
    ups[1]          64, 4H, 4W           likewise; missing at scale 2
    head            3, 4H, 4W            conv 9×9, tanh
    ==============  ===================  ==============================================

    Args:
        scale: 2 or 4.
        blocks: residual blocks.
        width: channels.
    """

    def __init__(self, scale: int = 4, blocks: int = 16, width: int = 64) -> None:
        super().__init__()
        self.scale = scale
        self.stem = nn.Sequential(nn.Conv2d(3, width, 9, padding=4), nn.PReLU())
        self.body = nn.Sequential(*(SrganBlock(width) for _ in range(blocks)))
        self.body.extend([nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)])
        self.ups = nn.Sequential()
        for _ in range(scale // 2):
            self.ups.extend([nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()])
        self.head = nn.Sequential(nn.Conv2d(width, 3, 9, padding=4), nn.Tanh())

    def forward(self, low: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 3, scale × H, scale × W), both in [-1, 1]."""
        features = self.stem(low)
        return self.head(self.ups(features + self.body(features)))  # type: ignore[no-any-return]


class SrganCritic(Critic):
    """Critic of crops of a fixed size (Ledig et al., figure 4); convolutions 3×3, LeakyReLU 0.2.

    ========  ============================  ===========================================
    stage     output (96 × 96)              operation
    ========  ============================  ===========================================
    input     3, 96, 96
    1, 2      64, 96, 96; 64, 48, 48        conv stride 1, act; conv stride 2, norm, act
    3, 4      128, 48, 48; 128, 24, 24      conv stride 1, norm, act; stride 2, norm, act
    5, 6      256, 24, 24; 256, 12, 12      likewise
    7, 8      512, 12, 12; 512, 6, 6        likewise
    9         1024                          dense, act
    score     1                             dense
    ========  ============================  ===========================================

    Args:
        size: side of the crops; a multiple of 16.
        width: channels of the first convolution.
    """

    def __init__(self, size: int = 96, width: int = 64) -> None:
        super().__init__(conditional=False)
        before = 3
        for after, stride in ((width * 2**i, stride) for i in range(4) for stride in (1, 2)):
            norm = [nn.BatchNorm2d(after)] if before > 3 else []
            self.layers.extend(
                [nn.Conv2d(before, after, 3, stride, 1, bias=not norm), *norm, nn.LeakyReLU(0.2)]
            )
            before = after
        dense = [
            nn.Linear(before * (size // 16) ** 2, 16 * width),
            nn.LeakyReLU(0.2),
            nn.Linear(16 * width, 1),
        ]
        self.layers.extend([nn.Flatten(), *dense])


@dataclass(frozen=True, kw_only=True)
class Srgan(Recipe):
    """Options of SRGAN; without `vgg`, the pre-training by mean squared error.

    Attributes:
        data: folder of pictures, such as CelebA's aligned ones.
        scale: how many times larger, 2 or 4.
        blocks: residual blocks of the generator.
        width: channels of generator and critic.
        crop: side of the large crops; a multiple of 16.
        start_from: checkpoint of the pre-training.
        vgg: VGG16's weights with Caffe's input, for the feature loss and distance.
        feature_weight: weight of the feature loss; makes it about as large as the mean squared error, as the
            paper's scaling does for its own layer.
        judged: folder of other pictures to measure on; `data` if empty.
    """

    kind: str = "srgan"
    data: str
    scale: Literal[2, 4] = 4
    blocks: int = 16
    width: int = 64
    crop: int = 96
    start_from: str = ""
    vgg: str = ""
    feature_weight: float = 2e-7
    judged: str = ""
    weight: float = 1e-3
    rate: float = 1e-4
    batch: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale not in (2, 4) or self.crop % 16 or self.crop < 32:
            raise ConfigError(
                f"scale is {self.scale} and crop {self.crop}, expected 2 or 4 and a multiple of 16 from 32 up"
            )

    @property
    def adversarial(self) -> AdversarialOptions | None:
        """The game, or None in the pre-training."""
        return super().adversarial if self.vgg else None

    def build_generator(self) -> SrganGenerator:
        """Build the generator with new weights."""
        return SrganGenerator(self.scale, self.blocks, self.width)

    def build_critic(self) -> SrganCritic:
        """Build the critic with new weights."""
        return SrganCritic(self.crop, self.width)

    def open_examples(self, folder: Path) -> LowAndHigh:
        """Read the pictures."""
        paths = list_pictures(self.data)
        judged = list_pictures(self.judged) if self.judged else paths
        vgg = Vgg(self.vgg, "caffe") if self.vgg else None
        return LowAndHigh(paths, judged, self.crop, self.scale, vgg, self.feature_weight)

    def start(self, generator: nn.Module) -> None:
        """Load the weights of the pre-training."""
        if self.start_from:
            load_checkpoint(Path(self.start_from), {"generator": generator})

    def generate(self, generator: nn.Module, condition: Tensor) -> Tensor:
        """Enlarge the small pictures."""
        return generator(condition)  # type: ignore[no-any-return]
