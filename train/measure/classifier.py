"""A small classifier of small pictures: whether samples show the class that was asked for."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_BATCH = 128


class Classifier(nn.Module):
    """Two convolutions and a hidden layer.

    ==========  ==================  ==============================
    stage       output (28 × 28)    operation
    ==========  ==================  ==============================
    input       1, 28, 28
    1           32, 14, 14          conv 3×3, ReLU, max-pool 2
    2           64, 7, 7            conv 3×3, ReLU, max-pool 2
    features    128                 dense, ReLU
    logits      classes             dense
    ==========  ==================  ==============================

    Args:
        size: side of the pictures in pixels; a multiple of 4.
        classes: number of classes.
    """

    def __init__(self, size: int = 28, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * (size // 4) ** 2, 128),
            nn.ReLU(),
        )
        self.logits = nn.Linear(128, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 1, H, W) in [-1, 1] to logits, (N, classes)."""
        return self.logits(self.features(pictures))  # type: ignore[no-any-return]


def train_classifier(pictures: Tensor, labels: Tensor, epochs: int = 1, seed: int = 0) -> Classifier:
    """Train a classifier by cross-entropy.

    Args:
        pictures: (N, 1, H, W) uint8.
        labels: (N,) int64 from 0.
        epochs: passes over the pictures; the learning rate falls to zero.
        seed: seed of weights and order.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Classifier(pictures.shape[-1], int(labels.max()) + 1)
        optimizer = torch.optim.Adam(network.parameters(), 1e-3)
        steps = max(1, epochs * (len(pictures) // _BATCH))
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
        with torch.enable_grad():
            for _ in range(steps):
                chosen = torch.randint(len(pictures), (_BATCH,))
                loss = F.cross_entropy(network(pictures[chosen].float() / 127.5 - 1), labels[chosen])
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
    return network.eval()


@torch.inference_mode()
def accuracy(network: nn.Module, pictures: Tensor, labels: Tensor) -> float:
    """Share of pictures, (N, 1, H, W) in [-1, 1], whose class is their label."""
    found = torch.cat([network(part).argmax(1) for part in torch.split(pictures, _BATCH)])
    return float((found == labels).float().mean())
