import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from rtdeblur.errors import ModelError
from rtdeblur.model import BEST_MODEL, DEFAULT_MODEL, FORMAT_VERSION, IDENTITY, Model, bundled_models


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of the default model's manifest next to a stand-in for its graph."""
    source = Model.load(DEFAULT_MODEL).path
    for suffix in (".onnx", ".json"):
        shutil.copy(source.with_suffix(suffix), tmp_path / f"mine{suffix}")
    return tmp_path / "mine.onnx"


def change(bundle: Path, **values: object) -> None:
    path = bundle.with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_default_model_is_listed_first() -> None:
    assert bundled_models()[0] == DEFAULT_MODEL


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_bundles_hold_no_path_of_the_exporting_machine(precision: str) -> None:
    assert b'File "' not in Model.load(DEFAULT_MODEL).variant(precision).onnx


@pytest.mark.parametrize("name", bundled_models())
def test_the_fp16_variant_has_the_same_weights(name: str) -> None:
    full = Model.load(name)
    if full.manifest.precision == "fp16":
        pytest.skip("too large for a float32 bundle")
    half = full.variant("fp16")
    assert half.manifest.precision == "fp16"
    assert len(half.onnx) < 0.6 * len(full.onnx)
    for fact in ("architecture", "training", "scores", "licence", "dropout", "stride"):
        assert getattr(half.manifest, fact) == getattr(full.manifest, fact)
    assert half.variant("fp32") == full
    assert full.variant("fp32") is full
    assert Model.load(f"{name}-fp16") == half
    assert half.manifest.name not in bundled_models()


def test_a_model_may_have_only_an_fp16_variant(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in (".onnx", ".json"):
        bundle.with_suffix(suffix).rename(bundle.with_name(f"mine-fp16{suffix}"))
    change(bundle.with_name("mine-fp16.onnx"), precision="fp16", name="mine-fp16")
    monkeypatch.setattr("rtdeblur.model._FOLDER", bundle.parent)
    assert bundled_models() == ["mine"]
    model = Model.load("mine")
    assert model == Model.load("mine-fp16")
    assert model.variant("fp16") is model
    with pytest.raises(ModelError, match=r"'mine' has no fp32 variant .*; try without --precision"):
        model.variant("fp32")


def test_a_missing_variant_is_an_error(bundle: Path) -> None:
    with pytest.raises(ModelError, match=r"has no fp16 variant \(.*mine-fp16\.onnx is missing"):
        Model.load(str(bundle)).variant("fp16")


def test_a_variant_of_another_precision_is_an_error(bundle: Path) -> None:
    for suffix in (".onnx", ".json"):
        shutil.copy(bundle.with_suffix(suffix), bundle.with_name(f"mine-fp16{suffix}"))
    with pytest.raises(ModelError, match="is fp32, expected fp16"):
        Model.load(str(bundle)).variant("fp16")


@pytest.mark.parametrize("suffix", [".onnx", ".json"])
def test_a_bundle_loads_by_either_path(bundle: Path, suffix: str) -> None:
    assert Model.load(str(bundle.with_suffix(suffix))).onnx == bundle.read_bytes()


def test_one_changed_byte_is_detected(bundle: Path) -> None:
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    bundle.write_bytes(data)
    with pytest.raises(ModelError, match="is damaged: its sha256"):
        Model.load(str(bundle))


def test_an_empty_graph_is_not_the_identity(bundle: Path) -> None:
    bundle.write_bytes(b"")
    change(bundle, sha256=hashlib.sha256(b"").hexdigest())
    with pytest.raises(ModelError, match="is empty"):
        Model.load(str(bundle))


def test_newer_format_is_refused(bundle: Path) -> None:
    change(bundle, format_version=FORMAT_VERSION + 1)
    with pytest.raises(ModelError, match=f"format {FORMAT_VERSION + 1}.*--upgrade"):
        Model.load(str(bundle))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "cannot read the manifest"),
        ("[]", "no format_version"),
        ('{"format_version": 1}', "is missing name"),
    ],
)
def test_a_broken_manifest_is_an_error(bundle: Path, text: str, message: str) -> None:
    bundle.with_suffix(".json").write_text(text)
    with pytest.raises(ModelError, match=message):
        Model.load(str(bundle))


@pytest.mark.parametrize(
    ("field", "values"),
    {
        "format_version": (True, "1", 0, -1, 1.5, None),
        "name": (5, None, "", "x" * 1000),
        "sha256": (5, None, [], "no digest"),
        "stride": ("8", -8, 0, 2**70, 8.5, True, None),
        "precision": (16, "int4", None),
        "dropout": (True, "some", None),
        "architecture": (5, [], None),
        "licence": (5, None),
        "training": (5, []),
        "scores": (5, []),
        "gate_threshold": ("0.5", -0.1, 1.1, True, {}),
        "dropout_sites": (5, {"count": 10**9, "channels": 10**9}, {"count": True, "channels": 1}),
    }.items(),
)
def test_manifest_values_of_other_types_are_refused(
    bundle: Path, field: str, values: tuple[object, ...]
) -> None:
    good = bundle.with_suffix(".json").read_text()
    for value in values:
        bundle.with_suffix(".json").write_text(good)
        change(bundle, **{field: value})
        with pytest.raises(ModelError, match=r"mine\.json .*; download the model again"):
            Model.load(str(bundle))


@pytest.mark.parametrize(
    "text",
    [b"[" * 100_000, b'{"a":' * 100_000, b'{"stride": 1e400}', b"9" * 9999, b"\xff", b" " * (17 << 20)],
)
def test_a_malformed_manifest_is_an_error(bundle: Path, text: bytes) -> None:
    bundle.with_suffix(".json").write_bytes(text)
    with pytest.raises(ModelError, match=r"cannot read the manifest .*; download the model again"):
        Model.load(str(bundle))


@pytest.mark.needs_posix
@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
def test_a_manifest_that_is_a_pipe_is_refused(bundle: Path) -> None:
    bundle.with_suffix(".json").unlink()
    os.mkfifo(bundle.with_suffix(".json"))
    with pytest.raises(ModelError, match=r"cannot read the manifest .*expected a regular file"):
        Model.load(str(bundle))


def test_an_incomplete_bundle_is_an_error(bundle: Path) -> None:
    bundle.with_suffix(".json").unlink()
    with pytest.raises(ModelError, match="keep them together"):
        Model.load(str(bundle))
    with pytest.raises(ModelError, match="no model file"):
        Model.load(str(bundle.parent / "other.onnx"))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ModelError, match=f"'nonesuch'; try one of {DEFAULT_MODEL}"):
        Model.load("nonesuch")


def test_auto_uses_the_fp16_variant_if_it_exists(bundle: Path) -> None:
    model = Model.load(str(bundle))
    assert model.variant("auto") is model
    for suffix in (".onnx", ".json"):
        shutil.copy(bundle.with_suffix(suffix), bundle.with_name(f"mine-fp16{suffix}"))
    change(bundle.with_name("mine-fp16.onnx"), precision="fp16")
    assert model.variant("auto") == model.variant("fp16") != model


def test_all_precisions_of_a_model_have_its_name() -> None:
    model = Model.load(BEST_MODEL)
    assert {model.name, model.variant("fp16").name, model.variant("int8").name} == {BEST_MODEL}


def test_identity_is_a_model_without_a_graph() -> None:
    model = Model.load(IDENTITY)
    assert (model.manifest.name, model.has_graph) == ("identity", False)
    assert IDENTITY not in bundled_models()
    with pytest.raises(ModelError, match="'identity' has no graph"):
        model.variant("fp32")


@pytest.mark.parametrize("name", [DEFAULT_MODEL, BEST_MODEL])
def test_a_bundled_int8_model_is_made_of_the_bundled_weights(name: str) -> None:
    """New weights need `python -m train gate` and `python -m train quantize` again (docs/training.md)."""
    full = Model.load(name)
    half, quantised = full.variant("fp16"), full.variant("int8")
    shas = {full.manifest.sha256, half.manifest.sha256}
    assert shas <= {*quantised.manifest.architecture["quantised_from"]}
    assert quantised.manifest.gate_threshold == full.manifest.gate_threshold == half.manifest.gate_threshold
    assert len(quantised.onnx) < 25 << 20


def test_the_bundled_int8_model_is_symmetric() -> None:
    """TensorRT refuses zero points other than zero."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load_model_from_string(Model.load(DEFAULT_MODEL).variant("int8").onnx).graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    rounding = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(rounding) > 50
    assert not any(constants[node.input[2]].any() for node in rounding)
