"""Generators: plain `nn.Module`s over RGB in [-1, 1] that compute a change to add to the input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtdeblur.dropout import DropoutSites
from train.networks.layers import Activation, Norm, activation_layer, init_normal, norm_layer


class Generator(nn.Module):
    """Base of all generators.

    Attributes:
        stride: H and W of its input are multiples of this.
        sites: dropout layers at inference; None without dropout.
        traced: whether to export it with PyTorch's older exporter, which records one run: seconds instead
            of minutes for thousands of operations, but less simple graphs.
        exact: names of module classes that compute in float32 in a half precision graph.
        residual: the change to the input, (N, 3, H, W) to the same shape. A generator with dropout also
            accepts the three tables of `rtdeblur.dropout` as tensors; without them, dropout is random in
            training and off in evaluation.
    """

    stride: int
    sites: DropoutSites | None = None
    traced: ClassVar[bool] = False
    exact: tuple[str, ...] = ("InstanceNorm",)
    residual: Callable[..., Tensor]

    @property
    def title(self) -> str:
        """Name of the network, for manifests."""
        return type(self).__name__

    @property
    def input_dtype(self) -> torch.dtype:
        """Type that `residual` takes: that of the first layer's weights."""
        return next(self.parameters()).dtype

    def forward(self, x: Tensor, *signs: Tensor) -> Tensor:
        """Restore blurred (N, 3, H, W) in [-1, 1]; same shape and range."""
        return (x + self.residual(x, *signs)).clamp(-1, 1)


@dataclass(frozen=True)
class DeblurGanOptions:
    """Options of the paper's generator; `RESIZE_CONV` is the variant of its Keras reimplementation.

    Attributes:
        kind: name in configurations.
        width: channels of the first convolution.
        blocks: residual blocks.
        dropout: share of values dropped in each block; inference with masks supports only 0 and 0.5.
        activation: activation outside the residual blocks.
        norm: instance as in the paper, or batch.
        upsample: transposed convolutions as in the paper, or nearest-neighbour doubling and a convolution,
            which avoids checkerboards (Odena et al., Distill 2016).
        halve_sum: restored = (input + tanh) / 2 instead of input + tanh.
        zero_head: initialise the last convolution with zeros, so that training starts from the identity; the
            paper initialises it like the others.
    """

    kind: Literal["deblurgan"] = "deblurgan"
    width: int = 64
    blocks: int = 9
    dropout: float = 0.5
    activation: Activation = "relu"
    norm: Norm = "instance"
    upsample: Literal["transposed", "nearest"] = "transposed"
    halve_sum: bool = False
    zero_head: bool = False

    def build(self) -> DeblurGan:
        """Build the generator with new weights."""
        return DeblurGan(self)


RESIZE_CONV = DeblurGanOptions(norm="batch", upsample="nearest", halve_sum=True)


class DeblurGanBlock(nn.Module):
    """x + norm(conv(drop(relu(norm(conv(x)))))), 3×3 reflect-padded: both convolutions, as in figure 3."""

    def __init__(self, channels: int, norm: Norm, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.norm1 = norm_layer(norm, channels)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.norm2 = norm_layer(norm, channels)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(N, C, H, W) to the same shape; `mask` (C, H, W) replaces random dropout."""
        h = self.relu(self.norm1(self.conv1(x)))
        h = self.dropout(h) if mask is None else h * mask
        return x + self.norm2(self.conv2(h))  # type: ignore[no-any-return]


class DeblurGan(Generator):
    """The DeblurGAN generator, 1-2-9-2-1 (Kupyn et al., CVPR 2018, figure 3); 11.38 M parameters.

    ==============  =================  ============================================
    stage           output             operation
    ==============  =================  ============================================
    input           3, H, W
    stem            64, H, W           conv 7×7 reflect-padded, norm, act
    downs[0]        128, H/2, W/2      conv 3×3 stride 2, norm, act
    downs[1]        256, H/4, W/4      conv 3×3 stride 2, norm, act
    blocks[0..8]    256, H/4, W/4      residual blocks with dropout
    ups[0]          128, H/2, W/2      transposed conv 3×3 stride 2, norm, act
    ups[1]          64, H, W           transposed conv 3×3 stride 2, norm, act
    head            3, H, W            conv 7×7 reflect-padded, tanh
    output          3, H, W            + input, clamp to [-1, 1]
    ==============  =================  ============================================
    """

    stride = 4

    def __init__(self, options: DeblurGanOptions) -> None:
        super().__init__()
        self.options = options
        w = options.width
        self.sites = DropoutSites(options.blocks, 4 * w, self.stride) if options.dropout == 0.5 else None
        self.stem = self._stage(nn.Conv2d(3, w, 7, padding=3, padding_mode="reflect"))
        self.downs = nn.Sequential(
            *(self._stage(nn.Conv2d(a, 2 * a, 3, stride=2, padding=1)) for a in (w, 2 * w))
        )
        self.blocks = nn.ModuleList(
            DeblurGanBlock(4 * w, options.norm, options.dropout) for _ in range(options.blocks)
        )
        self.ups = nn.Sequential(*(self._stage(*self._up(a)) for a in (4 * w, 2 * w)))
        self.head = nn.Sequential(nn.Conv2d(w, 3, 7, padding=3, padding_mode="reflect"), nn.Tanh())
        self.apply(init_normal)
        if options.zero_head:
            nn.init.zeros_(self.head[0].weight)  # type: ignore[arg-type]

    def _stage(self, *layers: nn.Module) -> nn.Sequential:
        channels = layers[-1].out_channels
        assert isinstance(channels, int)
        options = self.options
        return nn.Sequential(
            *layers, norm_layer(options.norm, channels), activation_layer(options.activation)
        )

    def _up(self, channels: int) -> list[nn.Module]:
        half = channels // 2
        if self.options.upsample == "transposed":
            return [nn.ConvTranspose2d(channels, half, 3, stride=2, padding=1, output_padding=1)]
        return [nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(channels, half, 3, padding=1)]

    def residual(self, x: Tensor, *signs: Tensor) -> Tensor:
        """Return the change to the input: (N, 3, H, W), H and W multiples of 4; `signs`: see `Generator`."""
        features = self.downs(self.stem(x))
        for block, mask in zip(self.blocks, self._masks(x, signs), strict=True):
            features = block(features, mask)
        change: Tensor = self.head(self.ups(features))
        return (change - x) / 2 if self.options.halve_sum else change

    def _masks(self, x: Tensor, signs: tuple[Tensor, ...]) -> list[Tensor] | list[None]:
        if not signs:
            return [None] * len(self.blocks)
        rows, columns, plane = signs
        product = rows[..., :, None] * columns[..., None, :] * plane[:, None]
        return list((1 + product).to(x.dtype).unbind())


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
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return x + self.conv2(self.relu(self.conv1(x)))  # type: ignore[no-any-return]


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))


@dataclass(frozen=True)
class FastOptions:
    """Options of our fast generator: the arguments of `FastGenerator`."""

    kind: Literal["fast"] = "fast"
    widths: tuple[int, int, int, int] = (16, 48, 96, 192)
    encoder_blocks: tuple[int, int, int] = (1, 1, 2)
    middle_blocks: int = 3
    decoder_blocks: tuple[int, int, int] = (2, 2, 1)
    two_scales: bool = True

    def build(self) -> FastGenerator:
        """Build the generator with new weights."""
        return FastGenerator(
            self.widths, self.encoder_blocks, self.middle_blocks, self.decoder_blocks, self.two_scales
        )


class FastGenerator(Generator):
    """Our fast generator: a four-level U-Net of plain residual blocks at half resolution and below.

    Blocks of all levels cost about the same, since channels double as the area falls to a quarter. Only the
    two pixel (un)shuffles run at full resolution, and every operation is a convolution, a ReLU or an
    addition, which TensorRT and OpenVINO fuse. Other designs that were tried: docs/models/fast.md.

    ======================  ============================  =====================
    stage                   output (default widths)       operation
    ======================  ============================  =====================
    input                   3, H, W
    stem                    16, H/2, W/2                  unshuffle 2, conv 3×3
    encoders[0..2]          16, 48, 96 at /2, /4, /8      residual blocks
    downs[0..2]             48, 96, 192 at /4, /8, /16    conv 3×3, stride 2
    middle                  192, H/16, W/16               residual blocks
    ups[0..2]               96, 48, 16 at /8, /4, /2      conv 1×1, shuffle 2
    decoders[0..2]          96, 48, 16                    + skip, residual blocks
    head                    4, H, W                       conv 3×3, shuffle 2
    output                  3, H, W                       mix of scales, + input, clamp to [-1, 1]
    ======================  ============================  =====================

    Args:
        widths: channels at 1/2, 1/4, 1/8 and 1/16 of the input's size.
        encoder_blocks: residual blocks of the three encoders, from 1/2 down.
        middle_blocks: residual blocks at 1/16.
        decoder_blocks: residual blocks of the three decoders, from 1/8 up.
        two_scales: also restore the picture at half size, for a quarter of the cost, and mix both changes.
            Long blur is short at half size. The head has a fourth channel then: how sure it is, pixel by
            pixel, of which a softmax over the scales makes their shares.
    """

    stride = 16
    doubling: Tensor

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (16, 48, 96, 192),
        encoder_blocks: tuple[int, int, int] = (1, 1, 2),
        middle_blocks: int = 3,
        decoder_blocks: tuple[int, int, int] = (2, 2, 1),
        two_scales: bool = True,
    ) -> None:
        super().__init__()
        self.two_scales = two_scales
        self.unshuffle = nn.PixelUnshuffle(2)
        self.shuffle = nn.PixelShuffle(2)
        self.stem = nn.Conv2d(12, widths[0], 3, padding=1)
        self.encoders = nn.ModuleList(_blocks(w, n) for w, n in zip(widths, encoder_blocks, strict=False))
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.middle = _blocks(widths[3], middle_blocks)
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.ups = nn.ModuleList(nn.Conv2d(a, 4 * b, 1) for a, b in pairs)
        self.decoders = nn.ModuleList(_blocks(b, n) for (_, b), n in zip(pairs, decoder_blocks, strict=True))
        self.head = nn.Conv2d(widths[0], 16 if two_scales else 12, 3, padding=1)
        nn.init.zeros_(self.head.weight)  # starts as the identity
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        # A new sample is three quarters of the nearest one and a quarter of the next, for 4 channels.
        near = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]])
        phases = torch.einsum("ay,bx->abyx", near, near).reshape(4, 1, 3, 3)
        self.register_buffer("doubling", phases.repeat(4, 1, 1, 1), persistent=False)

    def residual(self, x: Tensor) -> Tensor:
        """Return the change to the input: (N, 3, H, W), H and W multiples of 16."""
        if not self.two_scales:
            return self._run(x)
        height, width = x.shape[-2:]
        half = F.avg_pool2d(x, 2)
        padding = (0, -(width // 2) % self.stride, 0, -(height // 2) % self.stride)
        coarse = self._doubled(self._run(F.pad(half, padding, mode="replicate")))[..., :height, :width]
        fine = self._run(x)
        share = torch.sigmoid(fine[:, 3:] - coarse[:, 3:])
        return coarse[:, :3] + share * (fine[:, :3] - coarse[:, :3])

    def _doubled(self, x: Tensor) -> Tensor:
        """Scale up bilinearly, by a convolution: TensorRT refuses a resize by factors of a dynamic size."""
        phases = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), self.doubling, groups=x.shape[1])
        return self.shuffle(phases)  # type: ignore[no-any-return]

    def _run(self, x: Tensor) -> Tensor:
        """Return the head's channels at the size of `x`."""
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
