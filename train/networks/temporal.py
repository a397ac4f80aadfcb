"""Temporal fusion: a restored frame is improved with the restored frames before and after it.

    estimate_motion     dense motion between two frames, by patches, coarse to fine; nothing in it is learned
    FusionNetwork       how much of each moved neighbour to take, and what is still missing
    MotionGraph         the first as a graph
    FusionGraph         the second as a graph, on the planes of video frames

What blur has destroyed in one frame is often there in the next, and a restorer's errors differ from frame to
frame. Motion is estimated between restored frames, which have more detail than blurred ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_CELL = 8
"""Distance of patches, in pixels; a patch is two by two cells."""
_CORNERS = ((0, 0), (0, _CELL), (_CELL, 0), (_CELL, _CELL))
_QUARTERS = tuple(
    (..., slice(top, top - _CELL or None), slice(left, left - _CELL or None)) for top, left in _CORNERS
)
_STEPS = 2
_LEVELS = 5
_DAMPING = 144.0


def estimate_motion(first: Tensor, second: Tensor) -> Tensor:
    """Find where the pixels of one picture lie in another.

    The inverse search of Kroeger et al., Fast Optical Flow using Dense Inverse Search (ECCV 2016): from a
    pyramid's coarsest level, the displacement of each patch by Gauss-Newton steps on its mean-free
    difference; then each pixel's mean of the patches that cover it, weighted by how well they fit there.

    Args:
        first: (N, 1, H, W) or (1, 1, H, W) float32, code values 0 to 255.
        second: (N, 1, H, W) float32.

    Returns:
        (N, 2, H, W) float32, displacement x, y in pixels: `first` at p looks like `second` at
        p + displacement.
    """
    pyramid = [(first, second)]
    for _ in range(_LEVELS - 1):
        pyramid.append(tuple(F.avg_pool2d(x, 2, ceil_mode=True) for x in pyramid[-1]))  # type: ignore[arg-type]
    motion: Tensor | None = None
    for a, b in reversed(pyramid):
        motion = _search(a, b, motion)
    assert motion is not None
    return motion


def _search(a: Tensor, b: Tensor, coarse: Tensor | None) -> Tensor:
    """Refine the motion of the next coarser level, at one level of the pyramid."""
    height, width = a.shape[-2:]
    border = (_CELL, _CELL + -width % _CELL, _CELL, _CELL + -height % _CELL)

    def patches(planes: Tensor, mode: str = "replicate") -> Sequence[Tensor]:
        """(N, C, H, W) to C of (N, pixels of a patch, rows, columns); a patch is two by two cells."""
        padded = F.pad(planes, border, mode=mode)
        quarters = [F.pixel_unshuffle(padded[part], _CELL) for part in _QUARTERS]
        split = [x.view(x.shape[0], planes.shape[1], _CELL**2, *x.shape[2:]) for x in quarters]
        return torch.cat(split, 2).unbind(1)

    def picture(x: Tensor) -> Tensor:
        """Sum what the patches, (N, pixels of a patch, rows, columns), hold for each pixel: (N, 1, H, W)."""
        parts = [F.pixel_shuffle(part, _CELL) for part in x.chunk(4, 1)]
        cropped = [
            part[..., _CELL - top :, _CELL - left :][..., :height, :width]
            for part, (top, left) in zip(parts, _CORNERS, strict=True)
        ]
        return cropped[0] + cropped[1] + cropped[2] + cropped[3]

    ones = torch.ones_like(a)
    (inside,) = patches(ones, "constant")
    share = inside / inside.sum(1, keepdim=True)

    def centred(x: Tensor) -> Tensor:
        return (x - (x * share).sum(1, keepdim=True)) * inside

    places = ones.cumsum(3) - 1, ones.cumsum(2) - 1
    template, gx, gy, x, y = patches(torch.cat([a, *_gradients(a), *places], 1))
    gx, gy = centred(gx), centred(gy)
    xx, xy, yy = ((p * q).sum(1, keepdim=True) for p, q in ((gx, gx), (gx, gy), (gy, gy)))
    xx, yy = xx + _DAMPING, yy + _DAMPING
    scale = 1 / (xx * yy - xy * xy)

    def difference(u: Tensor, v: Tensor) -> Tensor:
        return centred(_sample(b, x + u, y + v, width, height) - template)

    if coarse is None:
        u = v = torch.zeros_like(xx).expand(b.shape[0], -1, -1, -1)
    else:
        finer = 2 * F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        padded = F.pad(finer[..., :height, :width], border, mode="replicate")
        middles = padded[..., _CELL : 1 - _CELL : _CELL, _CELL : 1 - _CELL : _CELL]
        u, v = middles[:, :1], middles[:, 1:]
    start_u, start_v = u, v
    error = difference(u, v)
    best_u, best_v, best_error, best = u, v, error, error.square().sum(1, keepdim=True)
    for _ in range(_STEPS):
        bx, by = (gx * error).sum(1, keepdim=True), (gy * error).sum(1, keepdim=True)
        u, v = u - (yy * bx - xy * by) * scale, v - (xx * by - xy * bx) * scale
        error = difference(u, v)
        energy = error.square().sum(1, keepdim=True)
        is_near = (u - start_u).square() + (v - start_v).square() < (2 * _CELL) ** 2
        is_better = ((energy < best) & is_near).float()
        best_u, best_v = best_u + is_better * (u - best_u), best_v + is_better * (v - best_v)
        best_error, best = best_error + is_better * (error - best_error), best + is_better * (energy - best)
    weight = inside / best_error.abs().clamp(min=1)
    across, down, total = picture(torch.cat([weight * best_u, weight * best_v, weight])).chunk(3)
    return torch.cat([across / total, down / total], 1)


def _gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y."""
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return (
        (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2,
        (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2,
    )


def _sample(picture: Tensor, x: Tensor, y: Tensor, width: int, height: int) -> Tensor:
    """Sample (N, 1, H, W) at pixels (N, K, rows, columns), bilinearly; its border continues outside."""
    shape = x.shape
    places = [((2 * x + 1) / width - 1), ((2 * y + 1) / height - 1)]
    grid = torch.cat([place.flatten(2)[:, None] for place in places], 1).permute(0, 2, 3, 1)
    return F.grid_sample(picture, grid, padding_mode="border", align_corners=False).view(shape)


def move(pictures: Tensor, motion: Tensor) -> Tensor:
    """Fetch each pixel from where motion says it lies.

    Args:
        pictures: (N, C, H, W) float32.
        motion: (N, 2, h, w) float32, x and y in widths and heights of the picture; resized to H, W.

    Returns:
        (N, C, H, W) float32, interpolated by cubic convolution.
    """
    height, width = pictures.shape[-2:]
    # Motion is smooth: full precision at half the size is enough, and much faster.
    half = (-(-height // 2), -(-width // 2))
    motion = F.interpolate(motion, half, mode="bilinear", align_corners=False)
    motion = F.interpolate(motion, (height, width), mode="nearest")
    ones = torch.ones_like(motion[:1, :1])
    x, y = (2 * ones.cumsum(3) - 1) / width - 1, (2 * ones.cumsum(2) - 1) / height - 1
    grid = torch.cat([x, y], 1) + 2 * motion
    return F.grid_sample(
        pictures, grid.permute(0, 2, 3, 1), mode="bicubic", padding_mode="border", align_corners=False
    )


class _Block(nn.Module):
    """Residual block of two 3×3 convolutions; the identity at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        for parameter in self.second.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.second(F.relu(self.first(x)))
        return x + added


class FusionNetwork(nn.Module):
    """Weighs the moved neighbours of a frame, by their luma, and adds a correction.

    Args:
        width: channels at half resolution.
        inner_width: channels at a quarter of the resolution.
        blocks: residual blocks there.
    """

    def __init__(self, width: int = 16, inner_width: int = 32, blocks: int = 2) -> None:
        super().__init__()
        self.head = nn.Conv2d(4 * 4, width, 3, padding=1)
        self.down = nn.Conv2d(width, inner_width, 2, stride=2)
        self.body = nn.Sequential(*(_Block(inner_width) for _ in range(blocks)))
        self.up = nn.Conv2d(inner_width, 4 * width, 1)
        self.block = _Block(width)
        self.tail = nn.Conv2d(width, 12, 3, padding=1)
        for parameter in self.tail.parameters():
            nn.init.zeros_(parameter)

    def forward(self, restored: Tensor, blurred: Tensor) -> tuple[Tensor, Tensor]:
        """Compare the luma of a frame, of the one before it and of the one after it, both moved onto it.

        Args:
            restored: the three restored frames, (N, 3, H, W) from 0 to 1; H and W multiples of 4.
            blurred: the frame before it was restored, (N, 1, H, W).

        Returns:
            Correction of luma, (N, 1, H, W), and the weights of the frames before and after, (N, 2, H, W),
            from 0 to 1: the result is current + weight before · (before − current) + the same of after +
            correction.
        """
        current = restored[:, :1]
        given = torch.cat([current - 0.5, 4 * (restored[:, 1:] - current), 4 * (current - blurred)], 1)
        x = F.relu(self.head(F.pixel_unshuffle(given, 2)))
        deep = self.body(F.relu(self.down(x)))
        x = self.block(x + F.pixel_shuffle(self.up(deep), 2))
        results = F.pixel_shuffle(self.tail(F.relu(x)), 2)
        return results[:, :1] / 4, torch.sigmoid(results[:, 1:] - 1)


class MotionGraph(nn.Module):
    """Motion between a frame and its neighbours; it has no weights."""

    def forward(self, reduced: Tensor) -> Tensor:
        """Find where the pixels of the first of three pictures lie in the two others.

        Args:
            reduced: (3, 1, h, w) float32, luma averaged over squares, 0 to 255.

        Returns:
            (2, 2, h, w) float32, x and y in widths and heights of the picture.
        """
        height, width = reduced.shape[-2:]
        motion = estimate_motion(reduced[:1], reduced[1:])
        return torch.cat([motion[:, :1] / width, motion[:, 1:] / height], 1)


class FusionGraph(nn.Module):
    """Fuses one restored frame with its neighbours, on planes of code values.

    Args:
        network: the network.
    """

    def __init__(self, network: FusionNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, luma: Tensor, chroma: Tensor, blurred: Tensor, motion: Tensor, peak: Tensor, is_rgb: Tensor
    ) -> tuple[Tensor, ...]:
        """Fuse the first of three restored frames: itself, the one before it, the one after it.

        Args:
            luma: (3, 1, H, W) code values, of any type; H and W multiples of 4.
            chroma: (3, 2, Hc, Wc), any chroma size; the same type.
            blurred: (1, 1, H, W), luma of the frame before it was restored; the same type.
            motion: (2, 2, h, w) float32, from `MotionGraph`.
            peak: (1,) float32, the largest code value.
            is_rgb: (1,) float32, 1 if the planes are green, blue and red, else 0.

        Returns:
            Luma (1, 1, H, W) and chroma (1, 2, Hc, Wc) of the fused frame; the same type.
        """
        planes = [plane.float() / peak for plane in (luma, chroma)]
        moved = [move(plane[1:], motion) for plane in planes]
        restored = torch.cat([planes[0][:1], moved[0]]).transpose(0, 1)
        correction, weights = self.network(restored, blurred.float() / peak)
        weights = weights.transpose(0, 1)
        shares = [weights, F.interpolate(weights, chroma.shape[-2:], mode="bilinear", align_corners=False)]
        fused = [
            plane[:1] + share[:1] * (neighbours[:1] - plane[:1]) + share[1:] * (neighbours[1:] - plane[:1])
            for plane, neighbours, share in zip(planes, moved, shares, strict=True)
        ]
        added = F.interpolate(correction, chroma.shape[-2:], mode="bilinear", align_corners=False) * is_rgb
        results = (fused[0] + correction, fused[1] + added)
        return tuple((x.clamp(0, 1) * peak).round().to(luma.dtype) for x in results)
