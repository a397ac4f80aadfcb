"""The generators and critics, each a plain `nn.Module` over RGB in [-1, 1]."""

from __future__ import annotations

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), 3×3, no normalisation (Lim et al., EDSR, CVPRW 2017, fig. 2c).

    The second convolution starts at a tenth of its usual scale, so that a deep stack starts near the
    identity and needs no normalisation to train.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        nn.init.kaiming_normal_(self.conv1.weight, nonlinearity="relu")
        nn.init.kaiming_normal_(self.conv2.weight, nonlinearity="linear")
        self.conv2.weight.data *= 0.1
        for conv in (self.conv1, self.conv2):
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return x + self.conv2(self.relu(self.conv1(x)))  # type: ignore[no-any-return]


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))


class FastGenerator(nn.Module):
    """Our fast generator: a four-level U-Net of plain residual blocks at half resolution and below.

    Every level costs the same a block, since channels double where the area falls to a quarter. Nothing runs at
    full resolution but the two pixel (un)shuffles, and every operation is a convolution, a ReLU or an addition,
    which TensorRT and OpenVINO fuse.

    ======================  ============================  =====================
    stage                   output (default widths)       operation
    ======================  ============================  =====================
    input                   3, H, W
    stem                    32, H/2, W/2                  unshuffle 2, conv 3×3
    encoders[0..2]          32, 64, 128 at /2, /4, /8     residual blocks
    downs[0..2]             64, 128, 256 at /4, /8, /16   conv 3×3, stride 2
    middle                  256, H/16, W/16               residual blocks
    ups[0..2]               128, 64, 32 at /8, /4, /2     conv 1×1, shuffle 2
    decoders[0..2]          128, 64, 32                   + skip, residual blocks
    head                    3, H, W                       conv 3×3, shuffle 2
    output                  3, H, W                       + input, clamp to [-1, 1]
    ======================  ============================  =====================

    Args:
        widths: channels at 1/2, 1/4, 1/8 and 1/16 of the input's size.
        encoder_blocks: residual blocks of the three encoders, from 1/2 down.
        middle_blocks: residual blocks at 1/16.
        decoder_blocks: residual blocks of the three decoders, from 1/8 up.
    """

    stride = 16

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (32, 64, 128, 256),
        encoder_blocks: tuple[int, int, int] = (1, 1, 2),
        middle_blocks: int = 3,
        decoder_blocks: tuple[int, int, int] = (2, 2, 1),
    ) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(2)
        self.shuffle = nn.PixelShuffle(2)
        self.stem = nn.Conv2d(12, widths[0], 3, padding=1)
        self.encoders = nn.ModuleList(_blocks(w, n) for w, n in zip(widths, encoder_blocks, strict=False))
        self.downs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip(widths, widths[1:], strict=False)
        )
        self.middle = _blocks(widths[3], middle_blocks)
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.ups = nn.ModuleList(nn.Conv2d(a, 4 * b, 1) for a, b in pairs)
        self.decoders = nn.ModuleList(_blocks(b, n) for (_, b), n in zip(pairs, decoder_blocks, strict=True))
        self.head = nn.Conv2d(widths[0], 12, 3, padding=1)
        nn.init.zeros_(self.head.weight)  # starts as the identity
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def residual(self, x: Tensor) -> Tensor:
        """What is added to the input: (N, 3, H, W), H and W multiples of 16."""
        features = self.stem(self.unshuffle(x))
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            features = encoder(features)
            skips.append(features)
            features = down(features)
        features = self.middle(features)
        for up, decoder, skip in zip(self.ups, self.decoders, reversed(skips), strict=True):
            features = decoder(self.shuffle(up(features)) + skip)
        return self.shuffle(self.head(features))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """Blurred (N, 3, H, W) in [-1, 1], H and W multiples of 16, to restored, same shape and range."""
        return (x + self.residual(x)).clamp(-1, 1)
