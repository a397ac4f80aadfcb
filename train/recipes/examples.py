"""Data of the recipes, with the losses and measures that suit each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.data.pictures import Pictures, read_picture
from train.fit import losses
from train.measure.classifier import Classifier, accuracy
from train.measure.enlarged import compare, middle, shrink
from train.measure.evaluate import to_tensor
from train.measure.fidelity import FeatureNetwork, Fidelity
from train.measure.grid import grid
from train.networks.vgg import Vgg
from train.recipes.run import Examples, Scores, device_of

_JUDGED_SAMPLES = 1000
_SHOWN = 64
_COLUMNS = 10
_CACHE_MIB = 1024
_JUDGED_PICTURES = 8


class PictureExamples(Examples):
    """Pictures without labels.

    Args:
        pictures: (N, 3, 32, 32) uint8.
        noise: length of the noise vector.
        network: features to measure samples by.
        measured: number of samples to measure, and of real pictures to compare them with.
    """

    def __init__(
        self, pictures: Tensor, noise: int, network: FeatureNetwork | None = None, measured: int = 1000
    ) -> None:
        self._pictures, self._noise, self._measured = pictures, noise, measured
        some = self._draw(np.random.default_rng(0), measured)
        self._spread = float(some.std(0).mean())
        self._fidelity = Fidelity(network, some) if network else None

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Draw pictures, each with an empty condition."""
        return self._draw(rng, count), torch.empty(count, 0)

    def _draw(self, rng: np.random.Generator, count: int) -> Tensor:
        return (
            self._pictures[torch.from_numpy(rng.integers(len(self._pictures), size=count))].float() / 127.5
            - 1
        )

    def score(self, generator: nn.Module) -> Scores:
        """Fidelity of samples, and their spread: 1 as for real pictures, 0 if all are the same."""
        noise = torch.randn(self._measured, self._noise).to(device_of(generator))
        samples = torch.cat([generator(some) for some in torch.split(noise, 100)]).cpu()
        scores = {"spread": float(samples.std(0).mean()) / self._spread}
        return scores | (self._fidelity(samples) if self._fidelity else {}), grid(samples[:_SHOWN], 8)


class LabelledExamples(Examples):
    """Pictures with labels; samples are judged by a classifier.

    Args:
        pictures: (N, 1, 28, 28) uint8.
        labels: (N,) int64.
        noise: length of the noise vector.
        judge: classifier of these pictures.
    """

    def __init__(self, pictures: Tensor, labels: Tensor, noise: int, judge: Classifier) -> None:
        self._pictures, self._labels, self._noise = pictures, labels, noise
        self._classes = int(labels.max()) + 1
        self._judge = judge

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Draw pictures and their labels."""
        chosen = torch.from_numpy(rng.integers(len(self._pictures), size=count))
        return self._pictures[chosen].float() / 127.5 - 1, self._labels[chosen]

    def score(self, generator: nn.Module) -> Scores:
        """Share of 1000 samples that show their own label, and a sheet with a row per class."""
        labels = torch.arange(_JUDGED_SAMPLES) % self._classes
        device, noise = device_of(generator), torch.randn(_JUDGED_SAMPLES, self._noise)
        samples = generator(*(part.to(device) for part in (noise, labels))).cpu()
        rows = samples[: _COLUMNS * self._classes].unflatten(0, (_COLUMNS, self._classes))
        sheet = grid(rows.transpose(0, 1).flatten(0, 1), _COLUMNS)
        return {"own label": accuracy(self._judge, samples, labels)}, sheet


class LowAndHigh(Examples):
    """Crops of pictures, small and large.

    Args:
        paths: pictures to train on.
        judged: pictures to measure on; their middle is used.
        crop: side of the large crops.
        scale: 2 or 4.
        vgg: network of the feature loss and the feature distance; None for the mean squared error.
        feature_weight: weight of the feature loss.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        judged: Sequence[Path],
        crop: int,
        scale: int,
        vgg: Vgg | None = None,
        feature_weight: float = 1.0,
    ) -> None:
        self._paths, self._crop, self._scale = paths, crop, scale
        self._vgg, self._feature_weight = vgg, feature_weight
        self._pictures = Pictures(paths, _CACHE_MIB)
        self._pictures.check_crop(crop)
        chosen = judged[:: max(1, len(judged) // _JUDGED_PICTURES)][:_JUDGED_PICTURES]
        self._judged = [to_tensor(middle(read_picture(path), 2 * crop)) for path in chosen]

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Draw large crops and their small versions."""
        crops, size = [], self._crop
        for index in rng.integers(len(self._paths), size=count):
            picture = self._pictures[self._paths[index]]
            y, x = (int(rng.integers(side - size + 1)) for side in picture.shape[:2])
            crops.append(to_tensor(picture[y : y + size, x : x + size][:, :: rng.choice((-1, 1))]))
        high = torch.cat(crops)
        return high, shrink(high, self._scale)

    def content(self, fake: Tensor, real: Tensor) -> dict[str, Tensor]:
        """Mean squared error in the pre-training, then the feature loss (Ledig et al., eq. 4 and 5)."""
        if self._vgg is None:
            return {"mse": F.mse_loss(fake, real)}
        return {"features": self._feature_weight * losses.perceptual(self._vgg.to(fake.device), fake, real)}

    def score(self, generator: nn.Module) -> Scores:
        """PSNR, SSIM and VGG distance to large pictures, restored and bicubic; a sheet of low to true."""
        return compare(generator, self._judged, self._scale, self._vgg)
