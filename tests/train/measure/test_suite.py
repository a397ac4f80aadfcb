from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exports import Exported
from safetensors.torch import save_file

from train.data.pictures import Picture, read_picture, write_picture
from train.errors import CheckpointError, ConfigError, DataError
from train.fit.checkpoint import load_generator
from train.fit.config import Config, ValidationOptions
from train.fit.journal import read_rows
from train.fit.run import fit
from train.measure.chart import line_chart
from train.measure.curve import COLUMNS, append_row, draw_curve, read_curve
from train.measure.evaluate import MOST_PSNR, psnr, restore_with
from train.measure.fixed_blur import motion_blurred, path_kernel, smooth_path
from train.measure.report import Measures, report_on_suite
from train.measure.restorer import Restorer, open_restorer
from train.measure.suite import DECISIVE, Suite, report_suite

MakePairs = Callable[..., Path]
MakeScene = Callable[..., Picture]
Tiny = Callable[..., Config]


@pytest.fixture
def folder(make_pairs: MakePairs, make_scene: MakeScene, tmp_path: Path) -> Path:
    """A small suite: two test pairs, a clip of seven frames, pairs of two clips, eight photographs."""
    root = tmp_path / "suite"
    for name, count in (("gopro-test", 2), ("gopro-clip", 7), ("reds-small", 3)):
        shutil.copytree(make_pairs(count, name), root / name)
    for kind in ("blur", "sharp"):
        for path in sorted((root / "reds-small" / kind).iterdir())[1:]:
            path.rename(path.with_name(f"test001_{path.name}"))
    (root / "kodak").mkdir()
    for i in range(8):
        write_picture(root / "kodak" / f"{i}.png", make_scene(20 + i, 64, 80))
    return root


def unchanged(picture: Picture) -> Picture:
    return picture


def test_the_suite_has_its_documented_sets(folder: Path) -> None:
    suite = Suite(folder)
    assert {name: len(sources) for name, sources in suite.sets.items()} == {
        "gopro-test": 2, "gopro-clip": 2, "reds-small": 2, "kodak": 8, "sharp": 8,
        "ladder-5": 2, "ladder-10": 2, "ladder-20": 2, "ladder-30": 2, "ladder-40": 2,
    }  # fmt: skip
    assert suite.missing == []
    for (blurred, sharp), name in zip((s() for s in suite.sets["gopro-clip"]), ("000", "005"), strict=True):
        assert np.array_equal(sharp, read_picture(folder / f"gopro-clip/sharp/{name}.png"))
        assert np.array_equal(blurred, read_picture(folder / f"gopro-clip/blur/{name}.png"))
    kept = [read_picture(folder / f"reds-small/sharp/test001_00{i}.png") for i in (1, 2)]
    for source, sharp in zip(suite.sets["reds-small"], kept, strict=True):
        assert np.array_equal(source()[1], sharp)


def test_the_blurred_photographs_are_always_the_same(folder: Path) -> None:
    first, again = (Suite(folder).sets["kodak"][3]()[0] for _ in range(2))
    assert np.array_equal(first, again)
    sharpness = [
        np.mean([psnr(*source()) for source in Suite(folder).sets[f"ladder-{length}"]])
        for length in (5, 10, 20, 40)
    ]
    assert sharpness == sorted(sharpness, reverse=True)


def test_an_identity_gains_nothing(folder: Path) -> None:
    rows = Suite(folder).measure(unchanged)
    for name in DECISIVE:
        assert rows[name]["gain"] == 0
        assert rows[name]["psnr_in"] == rows[name]["psnr_out"]
        assert rows[name]["sharpness_ratio"] < 1
    assert rows["sharp"] == {"psnr_out": MOST_PSNR, "sharpness_ratio": 1}


def test_the_ground_truth_gains_everything(folder: Path) -> None:
    suite = Suite(folder)
    truth = {
        blurred.tobytes(): sharp
        for sources in suite.sets.values()
        for blurred, sharp in (s() for s in sources)
    }
    rows = suite.measure(lambda picture: truth[picture.tobytes()])
    assert all(row["psnr_out"] == MOST_PSNR and row["sharpness_ratio"] == 1 for row in rows.values())


def test_the_mean_needs_all_four_decisive_sets(folder: Path, tmp_path: Path) -> None:
    gains = dict(zip(DECISIVE, (1.0, 2.0, 4.0, 9.0), strict=True))

    class Measured(Suite):
        def measure(self, *words: object) -> dict[str, dict[str, float]]:  # type: ignore[override]
            return {name: {"gain": gains.get(name, 50.0), "psnr_out": 40.0} for name in self.sets}

    path = report_suite(Restorer("mine", unchanged, {"steps": 7}), Measured(folder), tmp_path / "a" / "b")
    document = json.loads(path.with_suffix(".json").read_text())
    assert (document["mean"], document["steps"], document["missing"]) == (4.0, 7, [])
    assert "**+4.000 dB**" in path.read_text()
    assert document["flicker"]["flicker_in"] == document["flicker"]["flicker_out"]
    shutil.rmtree(folder / "reds-small")
    shutil.rmtree(folder / "gopro-clip")
    path = report_suite(Restorer("mine", unchanged, {}), Measured(folder), tmp_path / "c")
    document = json.loads(path.with_suffix(".json").read_text())
    assert (document["mean"], document["missing"], document["flicker"]) == (
        None,
        ["gopro-clip", "reds-small"],
        {},
    )
    assert "Missing sets: gopro-clip, reds-small." in path.read_text()
    assert "No mean gain" in path.read_text()


def test_a_folder_without_any_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no set of the suite in .*; expected one of gopro-test, gopro-clip"):
        Suite(tmp_path)


def test_a_run_validates_on_the_suite(tiny: Tiny, folder: Path) -> None:
    config = replace(tiny(), validation=ValidationOptions(suite=str(folder), every=6))
    fit(config)
    (row,) = [row for row in read_rows(Path(config.output)) if "mean" in row]
    assert row["mean"] == pytest.approx(np.mean([row[name] for name in DECISIVE]), abs=1e-5)
    assert row["sharp"] > 40
    with pytest.raises(ConfigError, match="both pairs and suite"):
        ValidationOptions(pairs="a", suite="b")


def test_the_fixed_blur_is_a_blur(make_scene: MakeScene) -> None:
    picture = make_scene(1, 96, 96)
    clean = motion_blurred(picture, 12, 5, 0.3, sigma=0)
    noisy = motion_blurred(picture, 12, 5, 0.3, sigma=2)
    assert np.array_equal(noisy, motion_blurred(picture, 12, 5, 0.3, sigma=2))
    difference = noisy.astype(float) - clean
    assert difference.std() == pytest.approx(2, abs=0.15)  # but for clipping and rounding
    assert abs(float(clean.mean()) - picture.mean()) < 2
    grey = np.full((40, 40, 3), 128, np.uint8)
    assert np.array_equal(motion_blurred(grey, 20, 1, 0.3, sigma=0), grey)


def test_a_fixed_path_has_its_length_and_is_centred() -> None:
    for seed in range(20):
        path = smooth_path(np.random.default_rng(seed), 20, 0.02)
        assert np.linalg.norm(np.diff(path, axis=0), axis=1).sum() == pytest.approx(20, rel=0.25)
        weights = path_kernel(path)
        assert weights.sum() == pytest.approx(1)
        assert weights[weights.shape[0] // 2, weights.shape[0] // 2] > 0
    # It rests for the first half of the exposure, then goes to the right.
    late = np.stack([np.maximum(np.linspace(-3, 3, 256), 0), np.zeros(256)], axis=1)
    columns = path_kernel(late).sum(0)
    centre = len(columns) // 2
    assert columns[centre] > 0.5
    assert columns[centre + 1 : centre + 4].sum() > 0.4
    assert columns[:centre].sum() < 0.02


class TestRestorers:
    @pytest.fixture
    def trained(self, tiny: Tiny) -> Config:
        config = tiny()
        fit(config)
        return config

    def test_a_bundle_restores_like_its_network(self, donor: Exported, make_scene: MakeScene) -> None:
        picture = make_scene(0, 50, 67)
        wanted = restore_with(donor.generator)(picture)
        assert psnr(wanted, picture) < 45
        for path, least in ((donor.full, 60), (donor.half, 45)):
            restorer = open_restorer(path)
            assert psnr(restorer.restore(picture), wanted) > least
            assert restorer.facts == {"steps": 5, "crops": 80}

    def test_a_checkpoint_contains_its_training_facts(self, trained: Config) -> None:
        facts = open_restorer(Path(trained.output, "last.safetensors")).facts
        assert (facts["steps"], facts["crops"]) == (6, 12)
        assert 0 < facts["core_hours"] < 1
        assert 0 < facts["hours"] < 1

    def test_plain_weights_need_their_configuration(
        self, trained: Config, make_scene: MakeScene, tmp_path: Path
    ) -> None:
        generator, _ = load_generator(Path(trained.output, "last.safetensors"))
        save_file(generator.state_dict(), tmp_path / "plain.safetensors")
        with pytest.raises(CheckpointError, match="contains no configuration of its network; add one"):
            open_restorer(tmp_path / "plain.safetensors")
        restorer = open_restorer(tmp_path / "plain.safetensors", tmp_path / "tiny.toml")
        picture = make_scene(0)
        assert np.array_equal(restorer.restore(picture), restore_with(generator)(picture))

    def test_a_damaged_bundle_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "a.onnx").write_bytes(b"no model")
        with pytest.raises(CheckpointError, match=r"cannot read the bundle .*a\.onnx: no manifest"):
            open_restorer(tmp_path / "a.onnx")

    def test_the_suite_takes_a_checkpoint(self, trained: Config, folder: Path, tmp_path: Path) -> None:
        path = report_on_suite(Path(trained.output, "last.safetensors"), folder, tmp_path / "out", Measures())
        document = json.loads(path.with_suffix(".json").read_text())
        assert abs(document["mean"]) < 0.5
        assert read_picture(path.with_suffix(".jpg")).shape == (2 * 96, 3 * 112, 3)


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    sets = {name: {"gain": 1.0 + i / 8, "psnr_out": 30.0} for i, name in enumerate(DECISIVE)}
    sets["sharp"] = {"psnr_out": 44.1234}
    path = tmp_path / "suite.json"
    path.write_text(json.dumps({"mean": 1.1875, "sets": sets, "crops": 4000}))
    return path


def test_a_curve_grows_by_a_row_and_is_drawn(measured: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "curve.csv"
    append_row(path, measured, core_hours=0.5)
    append_row(path, measured, core_hours=1.25, crops=9000)
    rows = read_curve(path)
    assert [(row["core_hours"], row["crops"]) for row in rows] == [("0.50", "4000"), ("1.25", "9000")]
    assert (rows[0]["mean"], rows[0]["kodak"], rows[0]["sharp"]) == ("1.188", "1.375", "44.123")
    assert rows[0]["ladder-5"] == ""  # what was not measured stays empty
    picture = read_picture(draw_curve(path))
    assert picture.shape == (720, 720, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20


def test_a_curve_reports_missing_values(measured: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no core_hours; give --core-hours"):
        append_row(tmp_path / "curve.csv", measured)
    assert not (tmp_path / "curve.csv").exists()
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=f"has the columns a, b; expected {', '.join(COLUMNS[:3])}"):
        append_row(tmp_path / "other.csv", measured, core_hours=1)
    measured.write_text("{}")
    with pytest.raises(DataError, match=r"expected a suite\.json of python -m train evaluate --suite"):
        append_row(tmp_path / "curve.csv", measured, core_hours=1)


@pytest.mark.parametrize(
    "line", [[], [(1.0, 2.0)], [(0.0, 5.0), (10.0, 5.0)], [(0.0, float("nan")), (1e6, -3.0), (2e6, 4.0)]]
)
def test_any_values_can_be_drawn(line: list[tuple[float, float]]) -> None:
    picture = line_chart("a title", "x", {"one": line, "two": [(0.0, 0.0), (1.0, 1.0)]})
    assert picture.shape == (360, 720, 3)
    assert picture.dtype == np.uint8


def test_a_rising_line_rises() -> None:
    picture = line_chart("t", "x", {"y": [(0.0, 0.0), (1.0, 1.0), (2.0, 4.0)]}).astype(int)
    blue = (picture[..., 2] - picture[..., 0] > 60) & (np.arange(720) > 80) & (np.arange(720) < 690)
    blue[:40] = False  # the legend
    rows = [float(np.flatnonzero(blue[:, column]).mean()) for column in (100, 300, 500, 680)]
    assert rows == sorted(rows, reverse=True)
