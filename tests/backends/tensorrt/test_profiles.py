from __future__ import annotations

import os
from pathlib import Path

import pytest

from rtdeblur.backends.tensorrt.profiles import BuildProfile, known_profiles, load_profile, parse_size
from rtdeblur.errors import EngineError

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("turing", "7.5"), ("ampere", "8.6"), ("ada", "8.9"), ("hopper", "9.0"), ("blackwell", "12.0"),
        ("jetson-orin", "8.7"),
    ],
)  # fmt: skip
def test_every_gpu_class_has_a_profile(name: str, capability: str) -> None:
    assert capability in load_profile(name).compute_capabilities


def test_every_profile_is_valid_shipped_and_documented() -> None:
    wheel = (ROOT / "pyproject.toml").read_text()
    explained = (ROOT / "engines" / "README.md").read_text()
    assert len(known_profiles()) == 6
    for name in known_profiles():
        profile = load_profile(name)
        assert profile.name == name
        assert f'"engines/{name}.toml"' in wheel
    assert all(f"`{key}`" in explained for key in BuildProfile.__dataclass_fields__ if key != "name")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("720p", (720, 1280)), ("4K", (2160, 3840)), ("720p-portrait", (1280, 720)), ("640x360", (360, 640)),
    ],
)  # fmt: skip
def test_sizes_by_name_and_number_are_parsed(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "720", "x", "1280x", "1280*720", "-1x5"])
def test_bad_sizes_are_refused(text: str) -> None:
    with pytest.raises(EngineError, match=r"try WIDTHxHEIGHT, e\.g\. 1280x720, or one of 480p"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpu = ", "is not valid TOML"),
        ("", "missing key 'gpus'"),
        ('gpus = "x"\nflavor = "rtx"', "unknown key 'flavor'; expected one of gpus, flavour"),
        ('gpus = "x"\nflavour = "trt"', "flavour is 'trt'; try one of auto, rtx, tensorrt"),
        ('gpus = "x"\nprecision = "int8"', "precision is 'int8'"),
        ('gpus = "x"\nchroma = "411"', "chroma is '411'"),
        ('gpus = "x"\nsizes = "720p"', "sizes is '720p'; expected a list of str"),
        ('gpus = "x"\nsizes = ["720"]', "size is '720'; try WIDTHxHEIGHT"),
        ('gpus = "x"\nsizes = []', "lists no sizes"),
        ('gpus = "x"\nbatches = [1.5]', "expected a list of int"),
        ('gpus = "x"\nbatches = [true]', "expected a list of int"),
        ('gpus = "x"\nworkspace_mib = "2G"', "workspace_mib is '2G'; expected int"),
        ('gpus = "x"\nworkspace_mib = 99999999999999999999', "workspace_mib is 9+; expected 1 to 1048576"),
        ('gpus = "x"\nbatches = [1, 65]', "batches is 65; expected 1 to 64"),
        ('gpus = "x"\noptimization_level = -1', "optimization_level is -1; expected 0 to 5"),
        ("gpus = " + "[" * 100_000, "is not valid TOML: it is nested too deeply"),
        ("gpus = " + "9" * 10_000, "is not valid TOML"),
        ("#" * (2 << 20), "cannot read the build profile .*larger than 1048576 bytes"),
        (
            'gpus = "x"\ncompute_capabilities = ["sm89"]',
            "compute capability is 'sm89'; expected a version such as 8.6",
        ),
    ],
)
def test_a_wrong_key_or_value_is_reported(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(EngineError, match=message) as caught:
        load_profile(str(path))
    assert str(path) in str(caught.value)


@pytest.mark.needs_posix
@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
def test_a_profile_that_is_not_a_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "mine.toml")
    with pytest.raises(EngineError, match=r"cannot read the build profile .*expected a regular file"):
        load_profile(str(tmp_path / "mine.toml"))


def test_a_missing_profile_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no build profile is called 'volta'; try one of ada, ampere"):
        load_profile("volta")
    with pytest.raises(EngineError, match=r"cannot read the build profile '.*none.toml': No such file"):
        load_profile(str(tmp_path / "none.toml"))
