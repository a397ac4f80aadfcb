from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from rtdeblur.model import BEST_MODEL, DEFAULT_MODEL, Model, bundled_models
from train.data.pictures import read_picture
from train.errors import ConfigError
from train.fit.checkpoint import save_checkpoint
from train.fit.config import Config, load_config
from train.fit.options import from_table, to_table
from train.measure.card import (
    ROOT,
    PairSet,
    as_toml,
    measure_model,
    read_template,
    redraw,
    render,
    write_card,
)
from train.measure.metadata import architecture, nameless, training
from train.measure.suite import Suite
from train.networks.generators import FastOptions

TEMPLATE = """+++
data = ["two scenes: CC0"]
hours = 3
+++
# {name}, {architecture[parameters]:,} parameters

{data}

{tables[two]}

{suite}

{worst}

From {scores[two][psnr_in]:.2f} to {scores[two][psnr_out]:.2f} dB;
flicker {scores[three][flicker][flicker_sharp]:.1f}; noise
{scores[unharmed][uniform noise]:.0f}; after {training[steps]} steps, {training[hours]} hours.

{config}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with one bundle, unmeasured, and the template of its card."""
    for folder in ("rtdeblur/models", "train/cards", "docs/models"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    (tmp_path / "root/train/cards/mine.md").write_text(TEMPLATE)
    for name in ("mine", "mine-fp16", "mine-int8"):
        manifest = {
            "name": name,
            "dropout": "off",
            "architecture": {"quantised_from": "mine"} if name.endswith("int8") else {},
            "training": {},
            "scores": {},
            "sha256": name,
        }
        (tmp_path / f"root/rtdeblur/models/{name}.json").write_text(json.dumps(manifest))
    return tmp_path / "root"


def test_a_card_and_both_manifests_are_measured_and_written(
    root: Path, tiny: Callable[..., Config], make_pairs: Callable[..., Path], tmp_path: Path
) -> None:
    config = tiny()
    checkpoint = tmp_path / "last.safetensors"
    state = {"step": 6, "config": to_table(config)}
    save_checkpoint(checkpoint, {"ema": _averaged(config)}, state)
    sets = [PairSet("two", tmp_path / "pairs"), PairSet("three", make_pairs(3, "clip"), clip=True)]
    make_pairs(2, "suite/gopro-test")
    measure_model("mine", checkpoint, None, sets, Suite(tmp_path / "suite"), root)
    text = write_card("mine", root).read_text()

    full, half, quantised = (
        json.loads((root / f"rtdeblur/models/{name}.json").read_text())
        for name in ("mine", "mine-fp16", "mine-int8")
    )
    assert quantised["architecture"] == full["architecture"] | {"quantised_from": "mine"}
    assert half == full | {"name": "mine-fp16", "sha256": "mine-fp16"}
    score = full["scores"]["two"]
    assert (
        score["psnr_in"]
        == score["psnr_out"]
        == pytest.approx(  # a fresh generator changes nothing
            sum(row["psnr_in"] for row in score["pictures"].values()) / 2, abs=1e-4
        )
    )
    assert full["scores"]["unharmed"]["uniform noise"] == 100
    assert full["scores"]["scene"]["before"] == full["scores"]["scene"]["after"]
    assert read_picture(root / "docs/models/mine.jpg").shape == (320, 3 * 480, 3)
    assert full["training"] | {"config": None} == {
        "steps": 6, "examples": 12, "config": None, "data": ["two scenes: CC0"], "hours": 3
    }  # fmt: skip
    assert f"From {score['psnr_in']:.2f} to" in text
    assert f"| **mean** | {score['psnr_in']:.2f} |" in text
    suite = full["scores"]["suite"]["gopro-test"]
    assert f"| gopro-test | {suite['psnr_in']:.2f} | {suite['psnr_out']:.2f} | +0.000 | " in text
    worst = text[text.index("| picture | PSNR in | gain |") :]
    assert worst.count("+0.00 | 100.0 |") == 5  # of the five pictures in two and three
    assert text.startswith("# mine, ")
    assert "- two scenes: CC0" in text
    assert "widths = [4, 8, 8, 8]" in text
    assert str(tmp_path) not in text + json.dumps(full)


@pytest.mark.parametrize("name", bundled_models())
def test_the_card_of_a_bundled_model_matches_its_manifest(name: str) -> None:
    manifest = json.loads(Model.load(name).path.with_suffix(".json").read_text())
    path = ROOT / f"train/cards/{name}.md"
    matter, body = read_template(path)
    assert manifest["training"] == manifest["training"] | matter
    card = (ROOT / f"docs/models/{name}.md").read_text()
    assert card == render(body, manifest, path), f"write it again: python -m train card {name}"


def test_the_readme_has_the_scores_of_the_default_and_the_best_model() -> None:
    readme = " ".join((ROOT / "README.md").read_text().split())
    default, best = (Model.load(name).manifest for name in (DEFAULT_MODEL, BEST_MODEL))
    for name in ("gopro-test", "gopro-clip"):
        cells = [
            f"{row[f'psnr_{end}']:.2f} / {row[f'ssim_{end}']:.3f}"
            for manifest, end in ((default, "in"), (default, "out"), (best, "out"))
            if (row := manifest.scores[name])
        ]
        assert f"| {' | '.join(cells)} |" in readme
    for manifest in (default, best):
        network = manifest.architecture
        assert re.search(
            rf"{network['parameters'] / 1e6:.1f} M( parameters)?, {network['gflop_256']:.1f} GFLOP", readme
        )


@pytest.mark.parametrize("name", [DEFAULT_MODEL, BEST_MODEL])
def test_the_cards_pictures_are_restored_by_the_bundled_models(name: str, root: Path) -> None:
    bundle = Model.load(name).path
    for path in (bundle, bundle.with_suffix(".json")):
        shutil.copy(path, root / "rtdeblur/models")
    redraw(name, root)
    again, published = (read_picture(folder / f"docs/models/{name}.jpg") for folder in (root, ROOT))
    assert np.abs(again.astype(int) - published).mean() < 0.5, f"python -m train card {name} --picture"
    score = json.loads((root / f"rtdeblur/models/{bundle.stem}.json").read_text())["scores"]["scene"]
    assert score == pytest.approx(Model.load(name).manifest.scores["scene"], abs=0.02)  # dB


def test_a_placeholder_without_a_value_is_an_error(root: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"mine\.md has a placeholder .*KeyError 'parameters'; measure the model first"
    ):
        write_card("mine", root)
    assert not (root / "docs/models/mine.md").exists()


def test_a_template_needs_its_front_matter(root: Path) -> None:
    (root / "train/cards/mine.md").write_text("# {name}\n")
    with pytest.raises(ConfigError, match=r"cannot read the template .*mine\.md"):
        write_card("mine", root)


@pytest.mark.parametrize("text", ["nowhere", "x=", "=.", "x=/no/such/folder"])
def test_pairs_need_a_name_and_a_folder(text: str) -> None:
    with pytest.raises(ConfigError, match="expected NAME=FOLDER"):
        PairSet.parse(text)


def test_the_journal_next_to_a_checkpoint_has_hours_and_the_curve(tmp_path: Path) -> None:
    for start, steps in ((0, (100, 200, 300)), (7200, (300, 400))):  # the second start does step 300 again
        with SummaryWriter(str(tmp_path), filename_suffix=f".{start}") as writer:
            for step in steps:
                writer.add_scalar("psnr", step / 10 + start / 7200, step)
    facts = training(tmp_path / "last.safetensors", {"step": 300, "options": {"batch": 4}})
    assert [(point["steps"], point["psnr"]) for point in facts["curve"]] == [(100, 10), (200, 20), (300, 31)]
    assert facts["examples"] == 1200
    assert facts["hours"] >= 0


def test_parameters_and_operations_are_counted() -> None:
    facts = architecture(FastOptions().build())
    assert (facts["generator"], facts["parameters"]) == ("FastGenerator", 3_104_656)
    assert facts["gflop_256"] == pytest.approx(5.2, abs=0.02)


@pytest.mark.parametrize("path", sorted((ROOT / "train/configs").glob("*.toml")), ids=lambda path: path.stem)
def test_a_configuration_round_trips_through_toml(path: Path) -> None:
    config = load_config(path)
    table = to_table(config)
    assert from_table(Config, table, "again") == config
    assert from_table(Config, tomllib.loads(as_toml(table)), "as the card has it") == config
    assert "seed" not in table


def test_local_paths_lose_their_folders() -> None:
    assert nameless({"a": ("/data/photos", "data/x"), "n": 1}) == {"a": ["photos", "data/x"], "n": 1}


def _averaged(config: Config) -> object:
    from torch.optim.swa_utils import AveragedModel

    return AveragedModel(config.generator.build())
