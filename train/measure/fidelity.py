"""Inception Score, FID and KID of samples, by torchmetrics over Inception's or a local network's features.

Only figures over the official Inception network compare with those of papers; those over another network are
labelled with its name, such as `FID[features=vgg16]`.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from train.data.pictures import read_picture
from train.errors import ConfigError, DataError
from train.measure.classifier import Classifier
from train.measure.evaluate import to_tensor
from train.networks.vgg import Convention, Vgg

_BATCH = 50
_SPLITS = 10
"""Parts of the Inception Score, whose mean is the score (Salimans et al., NIPS 2016, section 4)."""
_SUBSETS = 20
_LARGEST_SUBSET = 500
"""Features per subset of KID, which is unbiased at any size."""


class FeatureNetwork(nn.Module):
    """Network whose features are compared.

    Attributes:
        label: suffix of the names of scores; empty for the official Inception network.
    """

    label: str

    @abstractmethod
    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features and logits of (N, C, H, W) in [-1, 1]: (N, F), and (N, classes) if it classifies."""


class InceptionFeatures(FeatureNetwork):
    """The network that FID and the Inception Score are defined with, as torch-fidelity has it.

    Args:
        weights: file of the official weights, `weights-inception-2015-12-05-6726825d.pth` of torch-fidelity's
            release; never downloaded.

    Raises:
        ConfigError: torch-fidelity or its dependency torchvision is missing.
        DataError: the weights cannot be read.
    """

    label = ""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        try:
            from torch_fidelity import FeatureExtractorInceptionV3
        except ImportError as error:
            raise ConfigError(
                f"the Inception network needs torch-fidelity: {error}; pip install torch-fidelity"
            ) from None
        try:
            self._network = FeatureExtractorInceptionV3(
                "inception-v3-compat",
                ["2048", "logits_unbiased"],
                feature_extractor_weights_path=str(weights),
            )
        except (OSError, RuntimeError, ValueError, KeyError, EOFError, UnpicklingError) as error:
            reason = " ".join(str(error).split())[:160]
            raise DataError(f"cannot read Inception weights from {weights}: {reason}") from None

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `FeatureNetwork`."""
        codes = ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte()
        features, logits = self._network(codes.expand(-1, 3, -1, -1))
        return features, logits


class VggFeatures(FeatureNetwork):
    """Means over the picture of the 256 channels of VGG16's conv3_3: colours and textures, not objects."""

    label = "[features=vgg16]"

    def __init__(self, weights: Path, convention: Convention = "caffe") -> None:
        super().__init__()
        self._vgg = Vgg(weights, convention)

    def forward(self, pictures: Tensor) -> tuple[Tensor, None]:
        """See `FeatureNetwork`."""
        return self._vgg(pictures.expand(-1, 3, -1, -1)).mean((2, 3)), None


class ClassifierFeatures(FeatureNetwork):
    """The last hidden layer and the logits of a classifier trained on the real pictures."""

    label = "[features=classifier]"

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self._classifier = classifier

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """See `FeatureNetwork`."""
        features = self._classifier.features(pictures)
        return features, self._classifier.logits(features)


def open_network(inception: Path | None, vgg: Path | None) -> FeatureNetwork:
    """Open the network whose weights are given.

    Raises:
        ConfigError: not exactly one is given, or a package is missing.
        DataError: the weights cannot be read.
    """
    if inception and not vgg:
        return InceptionFeatures(inception)
    if vgg and not inception:
        return VggFeatures(vgg)
    raise ConfigError("fidelity needs the weights of one network: --inception-weights FILE or --vgg FILE")


def read_pictures(paths: Sequence[Path]) -> Tensor:
    """Read pictures of one size as (N, 3, H, W) in [-1, 1].

    Raises:
        DataError: one is damaged or has another size, or there is only one.
    """
    pictures = [read_picture(path) for path in paths]
    for path, picture in zip(paths, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            (h, w), (first_h, first_w) = picture.shape[:2], pictures[0].shape[:2]
            raise DataError(
                f"{path} is {h}×{w} but {paths[0]} {first_h}×{first_w} (height×width); expected one size"
            )
    if len(pictures) < 2:
        raise DataError(f"{paths[0].parent} has one picture; expected at least 2, better thousands")
    return torch.cat([to_tensor(picture) for picture in pictures])


class Fidelity:
    """Scores of samples against real pictures.

    Args:
        network: computes the features.
        real: real pictures, (N, C, H, W) in [-1, 1]; at least 2, better thousands.

    Raises:
        ConfigError: torchmetrics is missing.
    """

    def __init__(self, network: FeatureNetwork, real: Tensor) -> None:
        _metric("fid", "FrechetInceptionDistance")  # fail before any work
        self._network = network
        self._real, _ = features_of(network, real)

    def __call__(self, samples: Tensor) -> dict[str, float]:
        """Measure (N, C, H, W) in [-1, 1]: `FID`, `KID`, and `IS` if the network classifies."""
        features, logits = features_of(self._network, samples)
        scores = {"FID": frechet_distance(self._real, features), "KID": kernel_distance(self._real, features)}
        if logits is not None:
            scores["IS"] = inception_score(logits)
        return {name + self._network.label: value for name, value in scores.items()}


@torch.inference_mode()
def features_of(network: FeatureNetwork, pictures: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return features and logits of many pictures."""
    parts = [network(part) for part in torch.split(pictures, _BATCH)]
    logits = [part[1] for part in parts if part[1] is not None]
    return torch.cat([part[0] for part in parts]), torch.cat(logits) if logits else None


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """FID: ‖μ₁ - μ₂‖² + tr(Σ₁ + Σ₂ - 2 (Σ₁Σ₂)^½) of (N, F) features (Heusel et al., NIPS 2017, eq. 6)."""
    metric = _metric("fid", "FrechetInceptionDistance")(_Given(real.shape[1]))
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return float(metric.compute())


def kernel_distance(real: Tensor, fake: Tensor, seed: int = 0) -> float:
    """KID: squared MMD with a cubic kernel, mean over subsets (Bińkowski et al., ICLR 2018)."""
    size = min(_LARGEST_SUBSET, len(real), len(fake))
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore", UserWarning)  # that it keeps the features in memory
        torch.manual_seed(seed)
        kind = _metric("kid", "KernelInceptionDistance")
        metric = kind(_Given(real.shape[1]), subsets=_SUBSETS, subset_size=size)
        metric.update(real, real=True)
        metric.update(fake, real=False)
        mean, _ = metric.compute()
    return float(mean)


def inception_score(logits: Tensor, seed: int = 0) -> float:
    """IS: exp E KL(p(y|x) ‖ p(y)) of (N, classes) logits (Salimans et al., NIPS 2016, section 4)."""
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore", UserWarning)
        torch.manual_seed(seed)
        kind = _metric("inception", "InceptionScore")
        metric = kind(_Given(logits.shape[1]), splits=min(_SPLITS, len(logits)))
        metric.update(logits)
        mean, _ = metric.compute()
    return float(mean)


def _metric(module: str, name: str) -> Any:
    """Return a class of torchmetrics."""
    try:
        return getattr(import_module(f"torchmetrics.image.{module}"), name)
    except ImportError as error:
        raise ConfigError(
            f"FID, KID and the Inception Score need torchmetrics: {error}; pip install -e '.[metrics]'"
        ) from None


class _Given(nn.Module):
    """Passes features to torchmetrics as if it computed them, so that one pass serves three scores."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features
