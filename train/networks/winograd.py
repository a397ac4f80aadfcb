"""3×3 convolutions by Winograd's F(4×4, 3×3) (Lavin and Gray, CVPR 2016), with a quarter of the products.

PyTorch's CPU convolutions are direct. In float32, these take about half the time, forward and backward, from
48 channels on, and differ by about 1e-6 of the result's norm.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_TILE = 4
"""Side of a tile's output; its input is 6 × 6 pixels."""
_FEWEST_CHANNELS = 48
"""Least number of channels; below, the transforms cost as much as the products save."""


def use_winograd(network: nn.Module) -> None:
    """Make a network's 3×3 convolutions with stride 1 and many channels use Winograd in training on a CPU.

    Otherwise (on another device, in half precision, in evaluation, for sides that are not multiples of 4)
    they run as before.
    """
    for layer in network.modules():
        if type(layer) is nn.Conv2d and _fits(layer):
            layer.__class__ = _WinogradConv2d


def _fits(layer: nn.Conv2d) -> bool:
    shape = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)
    return shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1) and layer.in_channels >= _FEWEST_CHANNELS


class _WinogradConv2d(nn.Conv2d):
    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        half = torch.is_autocast_enabled(x.device.type)
        whole = x.shape[2] % _TILE == 0 and x.shape[3] % _TILE == 0
        if half or not whole or x.device.type != "cpu" or not torch.is_grad_enabled():
            direct: Tensor = super()._conv_forward(x, weight, bias)
            return direct
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        padded = functional.pad(x, (1, 1, 1, 1), mode)
        y: Tensor = _Winograd.apply(padded, weight)  # type: ignore[no-untyped-call]
        return y if bias is None else torch.add(y, bias[:, None, None])


class _Winograd(torch.autograd.Function):
    """Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A for each tile d, the products over channels being 36 matrix products.

    Tensors are (points of a tile, tiles, channels) throughout, so that each two-sided transform is one
    product with its Kronecker square.
    """

    @staticmethod
    def forward(ctx: Any, padded: Tensor, weight: Tensor) -> Tensor:
        """(N, C, H + 2, W + 2) and (O, C, 3, 3) to (N, O, H, W); H and W are multiples of 4."""
        x = padded.permute(0, 2, 3, 1).contiguous()
        rows, columns = ((side - 2) // _TILE for side in x.shape[1:3])
        points = _transform(_INPUT, _tiles(x, 6))
        kernel = _transform(_KERNEL, weight.permute(2, 3, 1, 0).flatten(0, 1))
        tiles = _transform(_OUTPUT, points @ kernel)
        y = tiles.view(4, 4, len(x), rows, columns, -1).permute(2, 3, 0, 4, 1, 5)
        ctx.save_for_backward(points, kernel)
        return y.reshape(len(x), rows * _TILE, columns * _TILE, -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the same steps in reverse, each transform being linear."""
        points, kernel = ctx.saved_tensors
        grad = gradients[0].permute(0, 2, 3, 1).contiguous()
        count, height, width = grad.shape[:3]
        rows, columns = height // _TILE, width // _TILE
        products = _transform(_OUTPUT.T, _tiles(grad, _TILE))
        weight = _transform(_KERNEL.T, points.mT @ products)
        weight = weight.view(3, 3, *weight.shape[1:]).permute(3, 2, 0, 1)
        tiles = _transform(_INPUT.T, products @ kernel.mT).view(6, 6, count, rows, columns, -1)
        padded = grad.new_zeros(count, height + 2, width + 2, tiles.shape[-1])
        # Neighbouring tiles share two rows and columns: add tiles that do not overlap in one operation.
        for top, side in ((0, 4), (4, 2)):
            for left, other in ((0, 4), (4, 2)):
                piece = tiles[top : top + side, left : left + other].permute(2, 3, 0, 4, 1, 5)
                _grid(padded[:, top:, left:], rows, columns, side, other).add_(piece)
        return padded.permute(0, 3, 1, 2), weight


def _grid(x: Tensor, rows: int, columns: int, height: int, width: int) -> Tensor:
    """View (N, H, W, C) as windows of height × width, 4 apart: (N, rows, height, columns, width, C)."""
    n, h, w, c = x.stride()
    shape = (x.shape[0], rows, height, columns, width, x.shape[3])
    return x.as_strided(shape, (n, _TILE * h, h, _TILE * w, w, c))


def _tiles(x: Tensor, side: int) -> Tensor:
    """Split (N, H, W, C) into windows, 4 apart: (side², tiles, C)."""
    rows, columns = ((extent - side) // _TILE + 1 for extent in x.shape[1:3])
    windows = _grid(x, rows, columns, side, side).permute(2, 4, 0, 1, 3, 5)
    return windows.reshape(side * side, -1, x.shape[3])


def _transform(matrix: Tensor, tiles: Tensor) -> Tensor:
    """Compute M t Mᵀ for each t of (b², …): (a², …), with an a × b matrix."""
    return torch.matmul(torch.kron(matrix, matrix), tiles.flatten(1)).view(-1, *tiles.shape[1:])


_INPUT = torch.tensor(
    [
        [4.0, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_KERNEL = torch.tensor([[6.0, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_OUTPUT = torch.tensor([[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
