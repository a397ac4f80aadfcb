"""The whole training on one pair: a trainer with any bug in its gradients cannot overfit it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from train.data.pairs import DataOptions, TrainingPairs
from train.fit.adversarial import WganGp
from train.fit.config import (
    AdversarialOptions,
    Config,
    LossOptions,
    OptimizerOptions,
    RuntimeOptions,
    ScheduleOptions,
)
from train.fit.run import launch
from train.fit.step import Step
from train.networks.critics import PatchCriticOptions
from train.networks.generators import DeblurGanOptions, FastOptions

MakePairs = Callable[..., Path]
PlainData = Callable[[Path], DataOptions]
slow = pytest.mark.skipif(
    os.environ.get("RTDEBLUR_SLOW") != "1", reason="takes minutes; RTDEBLUR_SLOW=1 runs it"
)

SIZE = 32
"""Side of the crop, pixels."""

NARROW_FAST = FastOptions(
    widths=(16, 32, 32, 32), encoder_blocks=(1, 1, 1), middle_blocks=1, decoder_blocks=(1, 1, 1)
)
NARROW_PAPER = DeblurGanOptions(width=16, blocks=1)


PIX2PIX_L1 = LossOptions(l1=100.0)  # without VGG's weights


def overfit(
    generator: DeblurGanOptions | FastOptions,
    data: DataOptions,
    learning_rate: float,
    steps: int,
    loss: LossOptions = PIX2PIX_L1,
) -> list[float]:
    """Return the PSNR in dB of one pair before and after training only on it."""
    config = Config(
        output="", data=data, crop=SIZE, clip=0.5, generator=generator, loss=loss,
        schedule=ScheduleOptions(steps, decay_steps=steps // 2),
        optimizer=OptimizerOptions(learning_rate=learning_rate),
        adversarial=AdversarialOptions(game=WganGp(), critic=PatchCriticOptions(width=8), critic_steps=1),
        runtime=RuntimeOptions(accelerator="cpu", workers=0),
    )  # fmt: skip
    blurred, sharp = (crop[None] for crop in TrainingPairs(data, SIZE, 1)[0])
    step = Step(config, launch(config.runtime))
    for number in range(steps):
        step(number, blurred, sharp)
    with torch.inference_mode():
        restored = step.restorer.eval()(blurred)
    return [float(10 * torch.log10(4 / (x - sharp).square().mean())) for x in (blurred, restored)]


@pytest.mark.parametrize(
    ("generator", "learning_rate", "steps"), [(NARROW_FAST, 4e-3, 100), (NARROW_PAPER, 3e-3, 300)]
)
def test_a_narrow_generator_overfits_one_pair(
    generator: DeblurGanOptions | FastOptions,
    learning_rate: float,
    steps: int,
    make_pairs: MakePairs,
    plain_data: PlainData,
) -> None:
    before, after = overfit(generator, plain_data(make_pairs(1)), learning_rate, steps)
    assert before < 25
    assert after > 35


@slow
@pytest.mark.parametrize("generator", [FastOptions(), DeblurGanOptions()])
@pytest.mark.timeout(3600)
def test_the_full_generators_overfit_one_pair(
    generator: DeblurGanOptions | FastOptions, make_pairs: MakePairs, plain_data: PlainData
) -> None:
    before, after = overfit(generator, plain_data(make_pairs(1)), 5e-4, 600)
    assert before < 25
    assert after > 35


@slow
@pytest.mark.skipif(
    not {"RTDEBLUR_PAIRS", "RTDEBLUR_VGG"} <= os.environ.keys(),
    reason="RTDEBLUR_PAIRS names a folder of pairs, RTDEBLUR_VGG Caffe's weights of VGG",
)
@pytest.mark.parametrize("generator", [FastOptions(), DeblurGanOptions()])
@pytest.mark.timeout(3600)
def test_the_full_generators_overfit_a_real_pair_by_all_losses(
    generator: DeblurGanOptions | FastOptions, plain_data: PlainData
) -> None:
    # Feature losses learn colours late: the paper's loss would need thousands of steps.
    loss = LossOptions(l1=100.0, perceptual=3e-4, vgg=os.environ["RTDEBLUR_VGG"], vgg_input="caffe")
    before, after = overfit(generator, plain_data(Path(os.environ["RTDEBLUR_PAIRS"])), 5e-4, 600, loss)
    assert before < 30
    assert after > 35
