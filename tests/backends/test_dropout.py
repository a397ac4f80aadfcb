"""Dropout at run time, with a small generator of the paper's kind, exported for the tests."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from brighten import SIZE, Gpu, assert_restored, batch_of, brighten
from exports import Exported, exported_deblurgan
from fake_gpu import FakeDriver

from rtdeblur.backends import open_backend
from rtdeblur.backends.tensorrt import SLOTS
from rtdeblur.dropout import INPUTS, Dropout, DropoutSites, Policy
from rtdeblur.errors import ModelError, UsageError
from rtdeblur.frames import Colour, FrameBatch
from rtdeblur.model import Manifest, Model
from train.export.graph import VideoGraph
from train.networks.generators import Generator


def model_of(onnx: Path, dropout: Policy, sites: dict[str, int] | None) -> Model:
    data = onnx.read_bytes()
    manifest = Manifest(
        1, "tiny", hashlib.sha256(data).hexdigest(), {}, 4, "fp32", dropout, "MIT", dropout_sites=sites
    )
    return Model(manifest, data, onnx)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported_deblurgan(tmp_path_factory)


@pytest.fixture(scope="module")
def generator(exported: Exported) -> Generator:
    return exported.generator


@pytest.fixture(scope="module")
def models(exported: Exported) -> dict[str, Model]:
    """One graph with two manifests of different default policies, and a third without dropout sites."""
    onnx = exported.full
    sites = {"count": 2, "channels": 16}
    return {
        "paper": model_of(onnx, "paper", sites),
        "off": model_of(onnx, "off", sites),
        "none": model_of(onnx, "off", None),
    }


def still(count: int, size: tuple[int, int] = (61, 83)) -> FrameBatch:
    """Stack the same picture `count` times."""
    rng = np.random.default_rng(0)
    small = (-(-size[0] // 2), -(-size[1] // 2))
    planes = tuple(
        np.repeat(rng.integers(16, 235, (1, 1, *shape), np.uint8), count, axis=0)
        for shape in (size, small, small)
    )
    return FrameBatch(planes, tuple(range(count)), Fraction(1, 25), Colour(), (None,) * count)  # type: ignore[arg-type]


def restored(model: Model, batch: FrameBatch, policy: Policy | None = None, seed: int = 0) -> np.ndarray:
    """Restore a batch; return the samples of each frame, (N, samples)."""
    backend = open_backend("openvino", model, precision="fp32", dropout=policy, seed=seed)
    planes = backend.infer(batch).planes
    backend.close()
    return np.concatenate([plane.reshape(len(batch), -1) for plane in planes], axis=1)


def test_a_still_picture_stays_still_and_a_seed_gives_the_same_bytes(models: dict[str, Model]) -> None:
    first, again, other = (restored(models["paper"], still(5), seed=seed) for seed in (3, 3, 4))
    assert (first == first[0]).all()
    assert (first == again).all()
    assert (first != other).mean() > 0.1


def test_off_matches_the_network_without_dropout(models: dict[str, Model], generator: Generator) -> None:
    batch = still(1)
    colour = batch.colour
    inputs = [*batch.planes, colour.yuv_to_rgb(), colour.rgb_to_yuv(), np.array([255], np.float32)]
    with torch.inference_mode():
        planes = VideoGraph(generator)(*map(torch.from_numpy, inputs))
    wanted = np.concatenate([plane.numpy().ravel() for plane in planes])
    off, paper = (restored(models["paper"], batch, policy)[0].astype(int) for policy in ("off", "paper"))
    # PyTorch sums in another order: a value half-way may round either way.
    assert np.abs(off - wanted).max() <= 1
    assert np.abs(paper - wanted).max() > 2


def test_the_manifest_sets_the_default_policy(models: dict[str, Model]) -> None:
    off, paper = (restored(models["off"], still(1), policy) for policy in ("off", "paper"))
    assert (restored(models["off"], still(1)) == off).all()
    assert (restored(models["paper"], still(1)) == paper).all()


def test_each_frame_size_has_its_own_tables(models: dict[str, Model]) -> None:
    backend = open_backend("openvino", models["paper"], precision="fp32")
    small, large = still(1, (32, 48)), still(1, (40, 64))
    alone = restored(models["paper"], large)
    backend.infer(small)
    after = backend.infer(large)
    assert (np.concatenate([p.ravel() for p in after.planes]) == alone[0]).all()
    backend.close()


def test_the_description_names_the_mask(models: dict[str, Model]) -> None:
    assert "dropout seed 7" in open_backend("openvino", models["paper"], seed=7).description
    assert "dropout off" in open_backend("openvino", models["off"]).description
    assert "dropout" not in open_backend("openvino", models["none"]).description


def test_an_unknown_policy_is_refused(models: dict[str, Model]) -> None:
    with pytest.raises(UsageError, match="dropout is 'on', expected paper or off"):
        open_backend("openvino", next(iter(models.values())), dropout=cast(Any, "on"))


def test_dropout_is_refused_for_a_model_without_it(models: dict[str, Model]) -> None:
    with pytest.raises(UsageError, match="'tiny' has no dropout; try --dropout off"):
        open_backend("openvino", models["none"], dropout="paper")


class TestTables:
    """Tables on a fake GPU: its engine records what their memory holds."""

    SITES = DropoutSites(count=2, channels=3, stride=16)

    @pytest.fixture
    def gpu(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gpu:
        shapes = ([2, 3, "th"], [2, 3, "tw"], [2, "th", "tw"])
        manifest = Manifest(1, "brighten", "1" * 64, {}, 16, "fp16", "paper", "MIT")
        onnx = brighten(dict(zip(INPUTS, shapes, strict=True)))
        gpu = Gpu(Model(manifest, onnx, tmp_path / "brighten.onnx"), tmp_path / "engines", FakeDriver())
        gpu.trt.tables = dict.fromkeys(reversed(INPUTS), np.float16)  # in no order that we rely on
        monkeypatch.setattr("rtdeblur.backends.tensorrt.pool.build", gpu.trt.build)
        return gpu

    @pytest.mark.parametrize("seed", [5, None], ids=["a seed", "off"])
    def test_they_reach_the_engine_once(self, gpu: Gpu, seed: int | None) -> None:
        backend = gpu.backend(dropout=Dropout(self.SITES, seed))
        for i in range(5):
            batch = batch_of(1, seed=i)
            assert_restored(backend.infer(batch), batch)
        tables = self.SITES.off(*SIZE) if seed is None else self.SITES.draw(seed, *SIZE)
        assert gpu.trt.taken == {name: t.tobytes() for name, t in zip(INPUTS, tables, strict=True)}
        uploads = [call[2] for call in gpu.driver.calls if call[0] == "upload"]
        planes = {32 * 48, 16 * 24}
        assert sorted(n for n in uploads if n not in planes and n not in (48, 4)) == sorted(
            [t.nbytes for t in tables] * SLOTS
        )
        backend.close()
        assert not gpu.driver.alive

    def test_a_size_has_its_own(self, gpu: Gpu) -> None:
        backend = gpu.backend(dropout=Dropout(self.SITES, 5))
        for size in ((64, 96), SIZE, (64, 96)):
            backend.infer(batch_of(1, size))
            tables = self.SITES.draw(5, *size)
            assert gpu.trt.taken == {name: t.tobytes() for name, t in zip(INPUTS, tables, strict=True)}
        backend.close()


@pytest.mark.parametrize(
    "sites", [3, {"count": 2}, {"count": 0, "channels": 4}, {"count": "2", "channels": 4}]
)
def test_invalid_dropout_sites_are_refused(models: dict[str, Model], tmp_path: Path, sites: object) -> None:
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(asdict(models["paper"].manifest) | {"dropout_sites": sites}))
    with pytest.raises(ModelError, match=r"dropout_sites .*expected count and channels"):
        Manifest.read(path)
