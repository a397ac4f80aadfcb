from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from train.errors import CheckpointError
from train.networks.vgg import Vgg

CONVS = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256)}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    tensors: dict[str, Tensor] = {}
    for index, (inputs, outputs) in CONVS.items():
        tensors[f"features.{index}.weight"] = torch.randn(outputs, inputs, 3, 3) * (2 / (9 * inputs)) ** 0.5
        tensors[f"features.{index}.bias"] = torch.randn(outputs) * 0.1
    tensors["classifier.0.weight"] = torch.zeros(1)  # a whole VGG holds more
    save_file(tensors, tmp_path / "vgg.safetensors")
    return tmp_path / "vgg.safetensors"


def colour(red: float, green: float, blue: float) -> Tensor:
    """One pixel of code values 0 to 255, as RGB in [-1, 1]."""
    return torch.tensor([red, green, blue]).reshape(1, 3, 1, 1) / 127.5 - 1


def test_caffe_s_weights_see_bgr_code_values_less_their_mean(weights: Path) -> None:
    got = Vgg(weights, "caffe").prepare(colour(200, 100, 50)).flatten().tolist()
    assert got == pytest.approx([50 - 103.939, 100 - 116.779, 200 - 123.68], abs=1e-4)


def test_torchvision_s_weights_see_normalised_rgb(weights: Path) -> None:
    got = Vgg(weights, "torchvision").prepare(colour(255, 0, 127.5)).flatten().tolist()
    assert got == pytest.approx([(1 - 0.485) / 0.229, -0.456 / 0.224, (0.5 - 0.406) / 0.225], abs=1e-5)


def test_features_are_conv3_3_after_its_relu(weights: Path) -> None:
    vgg = Vgg(weights, "torchvision")
    x = torch.rand(1, 3, 16, 24) * 2 - 1
    features = vgg(x)
    assert features.shape == (1, 256, 4, 6)
    assert (features >= 0).all()
    assert (features == 0).any()
    assert [type(layer).__name__ for layer in vgg.features].count("Conv2d") == 7
    assert torch.equal(list(vgg.stages(x))[-1], features)


def test_the_weights_do_not_train_but_the_pictures_can(weights: Path) -> None:
    vgg = Vgg(weights, "caffe")
    x = torch.zeros(1, 3, 8, 8, requires_grad=True)
    vgg(x).sum().backward()
    assert x.grad is not None
    assert not any(p.requires_grad for p in vgg.parameters())


def test_distance_is_zero_for_the_same_picture_and_grows_with_blur(weights: Path) -> None:
    vgg = Vgg(weights, "caffe")
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    little, much = (torch.nn.functional.avg_pool2d(x, k, 1, k // 2) for k in (3, 7))
    assert vgg.distance(x, x) == 0
    assert 0 < vgg.distance(little, x) < vgg.distance(much, x)


@pytest.mark.parametrize("damage", ["absent", "short", "other"])
def test_invalid_weights_are_an_error(weights: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "bad.safetensors"
    if damage == "short":
        path.write_bytes(weights.read_bytes()[:1000])
    elif damage == "other":
        save_file({"conv.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"cannot read VGG weights from .*bad\.safetensors"):
        Vgg(path, "caffe")
