from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from train.data.blur import PaperBlur
from train.errors import ConfigError
from train.fit.adversarial import Wgan, WganGp
from train.fit.config import Config, load_config
from train.fit.options import from_table
from train.networks.critics import PatchCriticOptions
from train.networks.generators import FastOptions

CONFIGS = Path(__file__).parents[3] / "train" / "configs"

BASE = """
output = "out"
[data]
pairs = ["somewhere"]
[loss]
l1 = 1
[schedule]
steps = 10
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], Config]:
    def read(text: str) -> Config:
        path = tmp_path / "run.toml"
        path.write_text(text)
        return load_config(path)

    return read


def test_a_table_s_kind_chooses_the_class(load: Callable[[str], Config]) -> None:
    config = load(
        BASE
        + '[generator]\nkind = "fast"\nwidths = [4, 8, 8, 8]\n[adversarial.game]\nkind = "wgan"\nclip = 1\n'
    )
    assert config.generator == FastOptions(widths=(4, 8, 8, 8))
    assert config.adversarial is not None
    assert config.adversarial.game == Wgan(clip=1.0)
    assert config.adversarial.critic == PatchCriticOptions()


def test_changes_override_the_file_and_keep_the_rest(load: Callable[[str], Config], tmp_path: Path) -> None:
    plain = load(BASE)
    path = tmp_path / "run.toml"
    changed = load_config(path, ["schedule.warmup_steps = 3", "batch = 4", "runtime.workers = 15"])
    assert changed.schedule == replace(plain.schedule, warmup_steps=3)
    assert changed.runtime == replace(plain.runtime, workers=15)
    assert replace(changed, schedule=plain.schedule, runtime=plain.runtime, batch=plain.batch) == plain
    with pytest.raises(ConfigError, match="has an unknown key 'wokers'; did you mean workers"):
        load_config(path, ["runtime.wokers = 15"])
    with pytest.raises(ConfigError, match=r"cannot read 'batch 4': .*expected TOML such as batch=4"):
        load_config(path, ["batch 4"])


def test_a_configuration_survives_the_json_of_a_checkpoint(load: Callable[[str], Config]) -> None:
    import json

    config = load(BASE + "[adversarial]\n")
    assert from_table(Config, json.loads(json.dumps(asdict(config))), "again") == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BASE + "[runtime]\nworker = 3\n", "runtime has an unknown key 'worker'; did you mean workers?"),
        (BASE + "[runtime]\ncrop = 64\n", "runtime has an unknown key 'crop'; expected one of accelerator, "),
        (BASE.replace("10", '"10"'), "run.toml schedule steps is '10', expected a whole number"),
        (BASE.replace("10", "true"), "run.toml schedule steps is True, expected a whole number"),
        (BASE.replace("10", "0"), "run.toml schedule: steps is 0, expected at least 1"),
        (BASE.replace("10", "ten"), "cannot read the configuration"),
        (BASE.replace("output", "outputs"), "unknown key 'outputs'; did you mean output?"),
        (BASE.replace("[schedule]\nsteps = 10", ""), "run.toml has no 'schedule'"),
        (BASE + '[generator]\nkind = "unet"\n', "generator kind is 'unet', expected one of deblurgan, fast"),
        (BASE + "[generator]\nkind = 'fast'\nwidths = [1, 2]\n", "widths has 2 values, expected 4"),
        (BASE + '[runtime]\nprecision = "fp8"\n', "expected one of '32-true', 'bf16-mixed', '16-mixed'"),
        (BASE.replace('["somewhere"]', '"somewhere"'), "data pairs is 'somewhere', expected an array"),
        ("crop = 100\n" + BASE, "crop is 100, expected a multiple of 16"),
        (BASE.replace("l1 = 1", "l1 = 0"), "no loss has a weight"),
        (BASE.replace("l1 = 1", "perceptual = 1"), "vgg is not set to a file"),
        (BASE.replace('pairs = ["somewhere"]', ""), "no training data"),
        (BASE + '[adversarial.critic]\nkind = "patch"\nnorm = "batch"\n', "wgan-gp needs per-sample"),
        (BASE + '[adversarial.critic]\nkind = "dense"\nsize = 128\n', "size is 128 but crop is 256"),
    ],
)  # fmt: skip
def test_an_invalid_configuration_is_a_one_line_error(
    load: Callable[[str], Config], text: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_paper_toml_is_the_paper_s_recipe() -> None:
    config = load_config(CONFIGS / "paper.toml")
    assert config.generator.build().options == type(config.generator)()  # type: ignore[union-attr]
    assert config.generator.kind == "deblurgan"
    assert (config.batch, config.crop) == (1, 256)
    assert (config.optimizer.kind, config.optimizer.learning_rate, config.optimizer.betas) == (
        "adam", 1e-4, (0.5, 0.999),
    )  # fmt: skip
    assert config.adversarial is not None
    assert config.adversarial.game == WganGp(penalty=10)
    assert config.adversarial.critic_steps == 5
    assert config.adversarial.optimizer == config.optimizer
    assert config.loss.perceptual == 100
    assert config.loss.l1 == config.loss.charbonnier == config.loss.frequency == 0
    assert config.data.blur == PaperBlur(steps=2000, max_length=60)
    factor = config.schedule.factor
    half, whole = config.schedule.decay_steps, config.schedule.steps
    assert whole == 2 * half == 300 * 2103  # epochs of GoPro's training pairs
    assert factor(0) == factor(half) == 1
    assert factor(half + half // 2) == pytest.approx(0.5, abs=1e-5)
    assert factor(whole - 1) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", ["fast", "laptop"])
def test_the_other_configurations_are_valid(name: str) -> None:
    config = load_config(CONFIGS / f"{name}.toml")
    assert config.schedule.factor(config.schedule.steps - 1) < 0.01
