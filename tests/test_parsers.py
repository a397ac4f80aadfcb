"""Each parser returns a value or raises its own error for any input from a file or a browser.

A few inputs per parser; `scripts/fuzz.py --parsers 20000` draws many.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from rtdeblur.backends.tensorrt.gate import Record
from rtdeblur.backends.tensorrt.profiles import load_profile
from rtdeblur.backends.tensorrt.sidecar import read_sidecar, sidecar_of
from rtdeblur.backends.tensorrt.spec import EngineSpec, Shape, ShapeProfile, Target
from rtdeblur.cli.report import plain
from rtdeblur.errors import EngineError, ModelError, UsageError
from rtdeblur.files import PrivateFolder
from rtdeblur.media.resume.job_folder import JobFolder
from rtdeblur.media.resume.segment_file import examine, glance
from rtdeblur.model import Manifest

pytestmark = pytest.mark.timeout(0)
EXAMPLES = int(os.environ.get("RTDEBLUR_EXAMPLES", "60"))
SLOWEST = timedelta(seconds=20)  # other programs share the cores

FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=SLOWEST,
    derandomize="RTDEBLUR_EXAMPLES" not in os.environ,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
    database=None,
)

SCALARS = (
    st.none() | st.booleans() | st.text(max_size=20) | st.floats() | st.integers()
    | st.sampled_from([2**31, 2**63, 2**64, -(2**63), 2**1000, 1e308, "0" * 64, "9" * 400, "\x1b[2J", "../x"])
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """All members of a document, each as its container and key."""
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, inner in list(members):
        yield value, key
        yield from places(inner)


@st.composite
def documents(draw: st.DrawFn, good: Any) -> Any:
    """A good document with some members replaced, removed or added."""
    document = json.loads(json.dumps(good))
    for _ in range(draw(st.integers(0, 3))):
        found = list(places(document))
        if not found:
            break
        container, key = found[draw(st.integers(0, len(found) - 1))]
        if isinstance(container, dict) and draw(st.booleans()):
            if draw(st.booleans()):
                del container[key]
            else:
                container[draw(st.text(max_size=8))] = draw(VALUES)
        else:
            container[key] = draw(VALUES)
    return document


@st.composite
def mangled(draw: st.DrawFn, texts: st.SearchStrategy[bytes]) -> bytes:
    """Bytes with some of them changed, removed or repeated, or others altogether."""
    data = bytearray(draw(texts))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        length = draw(st.sampled_from([0, 1, 1, 4, 30, 10_000]))
        piece = draw(
            st.binary(max_size=8) | st.sampled_from([b"[" * 5000, b'{"a":' * 5000, b"9" * 5000, b"\n"])
        )
        data[start : start + length] = piece
    return bytes(data)


def texts_of(good: Any) -> st.SearchStrategy[bytes]:
    whole = documents(good).map(lambda document: json.dumps(document).encode())
    return (
        whole
        | mangled(whole)
        | st.binary(max_size=200)
        | VALUES.map(lambda value: json.dumps(value).encode())
    )


@contextmanager
def written(folder: Path, name: str, data: bytes) -> Iterator[Path]:
    path = folder / name
    path.write_bytes(data)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parsers")


MANIFEST = {
    "format_version": 1, "name": "odd", "sha256": "0" * 64, "architecture": {"generator": "unet"},
    "stride": 8, "precision": "fp32", "dropout": "paper", "licence": "MIT", "training": {"steps": 5},
    "scores": {"gopro-test": {"psnr_out": 24.5}}, "dropout_sites": {"count": 1, "channels": 16},
}  # fmt: skip


@FUZZ
@given(texts_of(MANIFEST))
@example(json.dumps(MANIFEST).encode())
def test_any_manifest_is_parsed_or_refused(folder: Path, data: bytes) -> None:
    with written(folder, "m.json", data) as path, suppress(ModelError):
        manifest = Manifest.read(path)
        assert 1 <= manifest.stride <= 16384
        assert manifest.sites is None or 0 < manifest.sites.count * manifest.sites.channels <= 1 << 16


SPEC = EngineSpec(
    "m", "ab" * 32, "fp16", 16, ShapeProfile.static(Shape.of(1, 64, 96)), Target("rtx", "1.7.1", ("8.6",))
)
SIDECAR = json.loads(sidecar_of(SPEC, b"engine", 1.5))


@FUZZ
@given(texts_of(SIDECAR))
@example(json.dumps(SIDECAR).encode())
def test_any_sidecar_is_parsed_or_refused(folder: Path, data: bytes) -> None:
    engine = folder / f"{SPEC.stem}.engine"
    engine.write_bytes(b"engine")
    with written(folder, f"{SPEC.stem}.json", data), suppress(EngineError):
        sidecar = read_sidecar(engine)
        sidecar.check(engine, b"engine")
        assert sidecar.spec == SPEC


@FUZZ
@given(texts_of({"NVIDIA GeForce RTX 4090 ((64, 96), (32, 48), 'uint8')": 61.2}))
def test_any_parity_record_is_parsed_or_ignored(folder: Path, data: bytes) -> None:
    with written(folder, "x.parity", data) as path:
        assert "another" not in Record(path) or b"another" in data


@FUZZ
@given(
    mangled(
        st.just(
            b'gpus = "x"\nflavour = "rtx"\nsizes = ["720p", "64x64"]\nbatches = [1, 4]\nworkspace_mib = 64\n'
        )
    )
    | st.binary(max_size=100)
    | st.text(max_size=100).map(lambda text: text.encode(errors="replace"))
)
def test_any_build_profile_is_parsed_or_refused(folder: Path, data: bytes) -> None:
    with written(folder, "p.toml", data) as path, suppress(EngineError):
        assert all(1 <= batch <= 64 for batch in load_profile(str(path)).batches)


IDENTITY = {"input size": "5", "model": "identity", "codec": "libx264"}


def job_text(folder: Path) -> dict[str, Any]:
    """What a job of IDENTITY writes."""
    job = JobFolder(folder / "out.mp4")
    job.open(IDENTITY, resume=False, overwrite=False)
    facts: dict[str, Any] = json.loads((folder / ".out.mp4.rtdeblur" / "job.json").read_text())
    job.discard()
    return facts


@pytest.fixture(scope="module")
def job_facts(folder: Path) -> dict[str, Any]:
    return job_text(folder)


@FUZZ
@given(st.data())
def test_any_job_file_is_parsed_or_refused(
    folder: Path, job_facts: dict[str, Any], data: st.DataObject
) -> None:
    """Work whose description is odd is refused with one line, or done again."""
    text = data.draw(texts_of(job_facts))
    place = folder / ".out.mp4.rtdeblur"
    place.mkdir(mode=0o700)
    (place / "job.json").write_bytes(text)
    (place / "00000000.segment").write_bytes(b"damaged")
    job, said = JobFolder(folder / "out.mp4"), ""
    try:
        assert job.open(IDENTITY, resume=True, overwrite=False) == {}
    except UsageError as error:
        said = str(error)
    finally:
        job.discard()
    assert len(said) < 1500
    assert not place.exists()


JOB = "ab" * 32
HEADER = {"format": "rtdeblur segment 1", "job": JOB, "first": 0}
PACKET = {"pts": 0, "dts": 0, "duration": 1, "key": True, "side": [["display_matrix", 2]], "size": 4}


@st.composite
def segments(draw: st.DrawFn) -> bytes:
    """Segments whose seal is right, around headers and packets that may be odd."""
    count = draw(st.integers(0, 3))
    body = json.dumps(draw(documents(HEADER))).encode() + b"\n"
    for _ in range(count):
        body += json.dumps(draw(documents(PACKET))).encode() + b"\nxxabcd"
    if draw(st.booleans()):
        body = draw(mangled(st.just(body)))
    frames = draw(st.just(count) | st.integers(0, 2**32 - 1))
    body += (
        b"seal" + frames.to_bytes(4, "big") + draw(st.integers(0, 3) | st.just(2**32 - 1)).to_bytes(4, "big")
    )
    return body + hashlib.sha256(body).digest()


@pytest.fixture(scope="module")
def private(folder: Path) -> Iterator[PrivateFolder]:
    opened = PrivateFolder(folder / "work")
    yield opened
    opened.close()


@FUZZ
@given(segments() | mangled(segments()) | st.binary(max_size=200))
def test_any_segment_is_parsed_or_refused(private: PrivateFolder, data: bytes) -> None:
    private.write("00000000.segment", data)
    assert glance(private, "00000000.segment") >= 0
    segment = examine(private, "00000000.segment", JOB)
    if segment is not None:
        assert 0 < segment.frames <= 1 << 16
        assert len(list(segment.packets(Fraction(1, 25)))) == segment.frames


WORDS = [
    "record",
    "snapshot",
    "pause",
    "model",
    "model x",
    "strength 1",
    "strength 0.55",
    "drawn",
    "quit",
    "next",
]


@FUZZ
@given(
    st.sampled_from(WORDS)
    | st.text(max_size=2000)
    | st.tuples(st.sampled_from(["strength ", "model "]), st.text(max_size=700)).map("".join)
    | st.tuples(st.just("strength "), st.floats() | st.integers()).map(lambda pair: f"{pair[0]}{pair[1]}")
)
def test_any_page_message_is_parsed_or_ignored(message: str) -> None:
    from rtdeblur.live.displays import SetStrength
    from rtdeblur.live.displays.web.requests import parse

    action = parse(message)
    if isinstance(action, SetStrength):
        assert 0 <= action.value <= 2


@FUZZ
@given(st.text(max_size=300))
def test_any_text_is_printed_safely(text: str) -> None:
    shown = plain(text)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in shown)
    assert all(c in shown for c in text if c.isprintable())
