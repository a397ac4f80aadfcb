"""VGG features up to conv3_3, from a safetensors file with torchvision's key names.

VGG16 and VGG19 are identical up to there (Simonyan & Zisserman, ICLR 2015, table 1, D and E).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from train.errors import CheckpointError

Convention = Literal["caffe", "torchvision"]

_CONVS = {
    0: (3, 64),
    2: (64, 64),
    5: (64, 128),
    7: (128, 128),
    10: (128, 256),
    12: (256, 256),
    14: (256, 256),
}
_POOLS = (4, 9)
_STAGES = (3, 8, 15)  # after the ReLU of conv1_2, conv2_2, conv3_3


class Vgg(nn.Module):
    """Features after the ReLU of conv3_3, as DeblurGAN's equation 4 has them; frozen.

    Args:
        path: a safetensors file with `features.0.weight` to `features.14.bias`; more is ignored.
        convention: input convention of the weights. caffe: BGR, 0 to 255, minus
            (103.939, 116.779, 123.68). torchvision: RGB in [0, 1], minus (0.485, 0.456, 0.406), over
            (0.229, 0.224, 0.225).

    Raises:
        CheckpointError: the file is missing, damaged or holds other weights.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, path: str | Path, convention: Convention) -> None:
        super().__init__()
        self.convention = convention
        caffe = convention == "caffe"
        mean = (103.939, 116.779, 123.68) if caffe else (0.485, 0.456, 0.406)
        deviation = (1.0, 1.0, 1.0) if caffe else (0.229, 0.224, 0.225)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None], persistent=False)
        self.features = nn.Sequential(*(_layer(index) for index in range(_STAGES[-1] + 1)))
        self._load(Path(path))
        self.requires_grad_(False).eval()

    def _load(self, path: Path) -> None:
        try:
            tensors = load_file(path)
            self.load_state_dict({key: tensors[key] for key in self.state_dict()})
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(
                f"cannot read VGG weights from {path}: {reason}; expected a safetensors file with the keys "
                "features.0.weight to features.14.bias"
            ) from None

    def prepare(self, pictures: Tensor) -> Tensor:
        """Convert (N, 3, H, W) RGB in [-1, 1] to the input convention of the weights."""
        if self.convention == "caffe":
            return (pictures.flip(1) + 1) * 127.5 - self.mean
        return ((pictures + 1) / 2 - self.mean) / self.deviation

    def stages(self, pictures: Tensor) -> Iterable[Tensor]:
        """Features after conv1_2, conv2_2 and conv3_3: 64 channels, 128 at half size, 256 at a quarter."""
        x = self.prepare(pictures)
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in _STAGES:
                yield x

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in [-1, 1] to (N, 256, H/4, W/4)."""
        return self.features(self.prepare(pictures))  # type: ignore[no-any-return]

    @torch.no_grad()
    def distance(self, a: Tensor, b: Tensor) -> float:
        """Perceptual distance of pictures: LPIPS without its learned weights (Zhang et al., 2018, eq. 1)."""
        total = 0.0
        for one, other in zip(self.stages(a), self.stages(b), strict=True):
            unit_one, unit_other = nn.functional.normalize(one), nn.functional.normalize(other)
            total += float((unit_one - unit_other).square().sum(1).mean())
        return total


def _layer(index: int) -> nn.Module:
    if index in _CONVS:
        return nn.Conv2d(*_CONVS[index], 3, padding=1)
    return nn.MaxPool2d(2) if index in _POOLS else nn.ReLU(inplace=False)
