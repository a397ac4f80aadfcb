from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from train.data.pictures import write_picture
from train.errors import ConfigError, DataError
from train.measure.classifier import Classifier, accuracy, train_classifier
from train.measure.fidelity import (
    ClassifierFeatures,
    FeatureNetwork,
    Fidelity,
    InceptionFeatures,
    features_of,
    frechet_distance,
    inception_score,
    kernel_distance,
    open_network,
    read_pictures,
)


def gaussian(mean: list[float], covariance: list[list[float]], count: int = 50) -> Tensor:
    """Features whose sample mean and covariance (over n - 1) are exactly these."""
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(count, len(mean)))
    raw -= raw.mean(0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    return torch.from_numpy(white @ np.linalg.cholesky(np.array(covariance)).T + mean)


def test_fid_of_gaussians_is_its_closed_form() -> None:
    one, other = gaussian([0, 0], [[4, 0], [0, 1]]), gaussian([3, 4], [[1, 0], [0, 9]])
    assert frechet_distance(one, other) == pytest.approx(25 + (2 - 1) ** 2 + (1 - 3) ** 2)
    # Covariances that do not commute: tr √(Σ₁Σ₂) is the sum of the square roots of the eigenvalues.
    a, b = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[1.0, -0.5], [-0.5, 2.0]])
    wanted = np.trace(a) + np.trace(b) - 2 * np.sqrt(np.linalg.eigvals(a @ b)).sum()
    assert frechet_distance(gaussian([0, 0], a.tolist()), gaussian([0, 0], b.tolist())) == pytest.approx(
        wanted
    )


def test_fid_and_kid_of_a_set_with_itself_are_about_0() -> None:
    features = torch.randn(300, 8)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-4)
    # Each feature also meets itself, which the estimate does not expect: less by 2 / n of a kernel's value.
    assert kernel_distance(features, features) == pytest.approx(0, abs=0.1)
    assert kernel_distance(features, features + 1) > 1


def test_kid_of_all_features_is_the_unbiased_estimate() -> None:
    x, y = torch.randn(40, 3, dtype=torch.float64), torch.randn(40, 3, dtype=torch.float64) + 0.5

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / 3 + 1) ** 3

    apart = ~torch.eye(40, dtype=torch.bool)
    wanted = kernel(x, x)[apart].mean() + kernel(y, y)[apart].mean() - 2 * kernel(x, y).mean()
    assert kernel_distance(x, y) == pytest.approx(float(wanted), rel=1e-6)


def test_the_inception_score_of_one_picture_is_1_and_of_certain_classes_their_number() -> None:
    assert inception_score(torch.tensor([[1.0, 5.0, 2.0]]).repeat(50, 1)) == pytest.approx(1)
    certain = 100 * torch.eye(4).repeat(250, 1)  # each part of 100 has about 25 of each class
    assert inception_score(certain) == pytest.approx(4, rel=0.05)


class Means(FeatureNetwork):
    """Mean and deviation of each channel."""

    label = "[features=means]"

    def forward(self, pictures: Tensor) -> tuple[Tensor, None]:
        return torch.cat([pictures.mean((2, 3)), pictures.std((2, 3))], 1), None


def test_fid_equals_the_library_s_with_the_same_features() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Features(nn.Module):
        num_features = 6

        def forward(self, pictures: Tensor) -> Tensor:
            return Means()(pictures)[0]

    real, made = torch.rand(2, 120, 3, 8, 8) * 2 - 1
    made = 0.5 * made
    library = FrechetInceptionDistance(Features())
    library.update(real, real=True)
    library.update(made, real=False)
    scores = Fidelity(Means(), real)(made)
    assert set(scores) == {"FID[features=means]", "KID[features=means]"}
    assert scores["FID[features=means]"] == pytest.approx(float(library.compute()), rel=1e-5)


def test_a_classifier_s_features_also_give_a_score_of_its_classes() -> None:
    network = ClassifierFeatures(Classifier(28, 10))
    features, logits = features_of(network, torch.zeros(60, 1, 28, 28))
    assert features.shape == (60, 128)
    assert logits is not None
    assert logits.shape == (60, 10)
    assert Fidelity(network, torch.rand(60, 1, 28, 28))(torch.zeros(60, 1, 28, 28))[
        "IS[features=classifier]"
    ] == (pytest.approx(1))


def test_the_classifier_learns() -> None:
    labels = torch.arange(1280) % 2
    pictures = torch.randint(0, 128, (1280, 1, 8, 8)) + 127 * labels[:, None, None, None]
    network = train_classifier(pictures.to(torch.uint8), labels)
    assert accuracy(network, pictures / 127.5 - 1, labels) > 0.95
    assert accuracy(network, pictures / 127.5 - 1, 1 - labels) < 0.05


class FakeInception(nn.Module):
    """Stands in for torch-fidelity's network: two kinds of output, of uint8 colour pictures."""

    asked: tuple[str, list[str], str]

    def __init__(self, name: str, features: list[str], feature_extractor_weights_path: str) -> None:
        super().__init__()
        FakeInception.asked = name, features, feature_extractor_weights_path
        Path(feature_extractor_weights_path).read_bytes()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        assert x.dtype == torch.uint8
        assert x.shape[1] == 3
        return x.flatten(2).float().mean(2), x[:, :, 0, 0].float()


@pytest.fixture
def torch_fidelity(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("torch_fidelity")
    module.FeatureExtractorInceptionV3 = FakeInception  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", module)


@pytest.mark.usefixtures("torch_fidelity")
def test_inception_gets_its_weights_by_path_and_grey_pictures_as_colour(tmp_path: Path) -> None:
    weights = tmp_path / "inception.pth"
    weights.write_bytes(b"weights")
    features, logits = open_network(weights, None)(torch.full((2, 1, 4, 4), 1.0))
    assert FakeInception.asked == ("inception-v3-compat", ["2048", "logits_unbiased"], str(weights))
    assert features.tolist() == [[255.0] * 3] * 2
    assert logits is not None
    assert InceptionFeatures.label == ""


@pytest.mark.usefixtures("torch_fidelity")
def test_missing_inception_weights_are_reported_not_downloaded(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read Inception weights from .*missing\.pth"):
        InceptionFeatures(tmp_path / "missing.pth")


def test_without_torch_fidelity_one_line_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ConfigError, match="pip install torch-fidelity"):
        InceptionFeatures(tmp_path / "inception.pth")


def test_a_measurement_needs_one_network_and_pictures_of_one_size(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--inception-weights FILE or --vgg FILE"):
        open_network(None, None)
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    write_picture(paths[0], np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="has one picture"):
        read_pictures(paths[:1])
    write_picture(paths[1], np.zeros((8, 9, 3), np.uint8))
    with pytest.raises(DataError, match=r"b\.png is 8×9 but .*a\.png 8×8"):
        read_pictures(paths)


def test_without_torchmetrics_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics.image.fid", None)
    with pytest.raises(ConfigError, match=r"need torchmetrics: .*pip install -e '\.\[metrics\]'"):
        Fidelity(Means(), torch.zeros(2, 3, 8, 8))


def test_a_file_that_is_no_checkpoint_is_not_read_as_inception_s_weights(
    torch_fidelity: None, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"# text")

    def read(*arguments: object, **options: object) -> None:
        torch.load(path)

    sys.modules["torch_fidelity"].FeatureExtractorInceptionV3 = read  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="cannot read Inception weights"):
        InceptionFeatures(path)
