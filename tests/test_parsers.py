"""Each parser returns a value or raises its own error for any input from a file or a browser.

A few inputs per parser; `scripts/fuzz.py --parsers 20000` draws many. The inputs are drawn without
hypothesis, which takes ten times as long for each as the parsers do.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import pytest

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
SEED = os.environ.get("RTDEBLUR_SEED", "0")
SLOWEST_SECONDS = 20  # other programs share the cores
REPORTED = 2000


def drawn(
    make: Callable[[Random], Any], *examples: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test on each example, then on drawn inputs; a failure reports the input's number and the input.

    Args:
        make: draws an input, the test's argument `data`.
        examples: inputs to begin with.
    """

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(**fixtures: Any) -> None:
            began = time.monotonic()
            for number in range(-len(examples), EXAMPLES):
                data = examples[number] if number < 0 else make(Random(f"{SEED} {test.__name__} {number}"))
                try:
                    started = time.monotonic()
                    test(**fixtures, data=data)
                    assert time.monotonic() - started < SLOWEST_SECONDS
                except BaseException as error:
                    error.add_note(f"input {number} of seed {SEED}: {data!r:.2000}")
                    raise
                if number > 0 and (number + 1) % REPORTED == 0:
                    progress = f"{number + 1} of {EXAMPLES}, {time.monotonic() - began:.0f} s"
                    sys.stdout.write(f"{test.__name__}: {progress}\n")
                    sys.stdout.flush()

        signature = inspect.signature(test)
        fixtures = [value for name, value in signature.parameters.items() if name != "data"]
        run.__signature__ = signature.replace(parameters=fixtures)  # type: ignore[attr-defined]
        return run

    return decorate


ODD = [
    None, True, False, 0, -1, 1, 1.5, -0.0, float("nan"), float("inf"), float("-inf"), 1e308, 5e-324,
    2**31, 2**32, 2**63, 2**64, -(2**63), 2**1000, "", "0" * 64, "9" * 400, "\x1b[2J", "../x", "\0", "\ud800",
    "\u202e", "true", "1", [], {},
]  # fmt: skip


def text(draw: Random, most: int) -> str:
    """Text of ASCII, of control characters, or of anything, unpaired surrogates included."""
    last = draw.choice([0x20, 0x7F, 0x7F, 0x7F, 0xFF, 0xFFFF, 0x10FFFF])
    return "".join(chr(draw.randint(0, last)) for _ in range(draw.randint(0, most)))


def value(draw: Random, depth: int = 3) -> Any:
    """Any value that JSON can hold."""
    kind = draw.random()
    if kind < 0.5 or depth == 0:
        return draw.choice(ODD)
    if kind < 0.6:
        return draw.randint(-300, 300) if draw.random() < 0.5 else draw.randint(-(2**70), 2**70)
    if kind < 0.7:
        return struct.unpack("d", draw.randbytes(8))[0]
    if kind < 0.8:
        return text(draw, 20)
    if kind < 0.9:
        return [value(draw, depth - 1) for _ in range(draw.randint(0, 4))]
    return {text(draw, 8): value(draw, depth - 1) for _ in range(draw.randint(0, 4))}


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """All members of a document, each as its container and key."""
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, inner in list(members):
        yield value, key
        yield from places(inner)


def document(draw: Random, good: Any) -> Any:
    """A good document with some members replaced, removed or added."""
    made = json.loads(json.dumps(good))
    for _ in range(draw.choice([0, 0, 0, 1, 2, 3])):
        found = list(places(made))
        if not found:
            break
        container, key = draw.choice(found)
        if isinstance(container, dict) and draw.random() < 0.5:
            if draw.random() < 0.5:
                del container[key]
            else:
                container[text(draw, 8)] = value(draw)
        else:
            container[key] = value(draw)
    return made


def mangled(draw: Random, good: bytes) -> bytes:
    """Bytes with some of them changed, removed or repeated."""
    data = bytearray(good)
    for _ in range(draw.choice([0, 1, 1, 2, 3])):
        start = draw.randint(0, len(data))
        length = draw.choice([0, 1, 1, 4, 30, 10_000])
        odd = draw.choice([b"[" * 5000, b'{"a":' * 5000, b"9" * 5000, b"\n"])
        data[start : start + length] = odd if draw.random() < 0.4 else draw.randbytes(draw.randint(0, 8))
    return bytes(data)


def file_like(draw: Random, good: Any) -> bytes:
    """A file of JSON: a changed document, damaged or not; any bytes, or any value."""
    kind = draw.randrange(4)
    if kind == 0:
        return draw.randbytes(draw.randint(0, 200))
    made = json.dumps(value(draw) if kind == 1 else document(draw, good)).encode()
    return mangled(draw, made) if kind == 2 else made


def test_a_failure_names_its_input() -> None:
    @drawn(lambda draw: draw.randint(0, 9))
    def fails(data: int) -> None:
        assert data != 3

    with pytest.raises(AssertionError) as caught:
        fails()
    assert caught.value.__notes__[-1].endswith(f"of seed {SEED}: 3")


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
    "gate_threshold": 0.5,
}  # fmt: skip


@drawn(lambda draw: file_like(draw, MANIFEST), json.dumps(MANIFEST).encode())
def test_any_manifest_is_parsed_or_refused(folder: Path, data: bytes) -> None:
    with written(folder, "m.json", data) as path, suppress(ModelError):
        manifest = Manifest.read(path)
        assert 1 <= manifest.stride <= 16384
        assert manifest.sites is None or 0 < manifest.sites.count * manifest.sites.channels <= 1 << 16


SPEC = EngineSpec(
    "m", "ab" * 32, "fp16", 16, ShapeProfile.static(Shape.of(1, 64, 96)), Target("rtx", "1.7.1", ("8.6",))
)
SIDECAR = json.loads(sidecar_of(SPEC, b"engine", 1.5))


@pytest.fixture(scope="module")
def engine(folder: Path) -> Path:
    path = folder / f"{SPEC.stem}.engine"
    path.write_bytes(b"engine")
    return path


@drawn(lambda draw: file_like(draw, SIDECAR), json.dumps(SIDECAR).encode())
def test_any_sidecar_is_parsed_or_refused(folder: Path, engine: Path, data: bytes) -> None:
    with written(folder, f"{SPEC.stem}.json", data), suppress(EngineError):
        sidecar = read_sidecar(engine)
        sidecar.check(engine, b"engine")
        assert sidecar.spec == SPEC


RECORD = {"NVIDIA GeForce RTX 4090 ((64, 96), (32, 48), 'uint8')": 61.2}


@drawn(lambda draw: file_like(draw, RECORD))
def test_any_parity_record_is_parsed_or_ignored(folder: Path, data: bytes) -> None:
    with written(folder, "x.parity", data) as path:
        assert "another" not in Record(path) or b"another" in data


PROFILE = b'gpus = "x"\nflavour = "rtx"\nsizes = ["720p", "64x64"]\nbatches = [1, 4]\nworkspace_mib = 64\n'


def profile(draw: Random) -> bytes:
    if draw.random() < 0.6:
        return mangled(draw, PROFILE)
    return draw.randbytes(100) if draw.random() < 0.5 else text(draw, 100).encode(errors="replace")


@drawn(profile, PROFILE)
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


@drawn(lambda draw: draw)
def test_any_job_file_is_parsed_or_refused(folder: Path, job_facts: dict[str, Any], data: Random) -> None:
    """Work whose description is odd is refused with one line, or done again."""
    described = file_like(data, job_facts)
    place = folder / ".out.mp4.rtdeblur"
    place.mkdir(mode=0o700)
    (place / "job.json").write_bytes(described)
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


def sealed(draw: Random) -> bytes:
    """A segment whose seal is right, around headers and packets that may be odd."""
    count = draw.randint(0, 3)
    body = json.dumps(document(draw, HEADER)).encode() + b"\n"
    for _ in range(count):
        body += json.dumps(document(draw, PACKET)).encode() + b"\nxxabcd"
    if draw.random() < 0.5:
        body = mangled(draw, body)
    frames = draw.choice([count, count, draw.randrange(2**32)])
    body += b"seal" + struct.pack(">II", frames, draw.choice([0, 1, 2, 3, 2**32 - 1]))
    return body + hashlib.sha256(body).digest()


def segment(draw: Random) -> bytes:
    kind = draw.random()
    return sealed(draw) if kind < 0.6 else mangled(draw, sealed(draw)) if kind < 0.9 else draw.randbytes(200)


@pytest.fixture(scope="module")
def private(folder: Path) -> Iterator[PrivateFolder]:
    opened = PrivateFolder(folder / "work")
    yield opened
    opened.close()


@drawn(segment)
def test_any_segment_is_parsed_or_refused(private: PrivateFolder, data: bytes) -> None:
    private.write("00000000.segment", data)
    assert glance(private, "00000000.segment") >= 0
    found = examine(private, "00000000.segment", JOB)
    if found is not None:
        assert 0 < found.frames <= 1 << 16
        assert len(list(found.packets(Fraction(1, 25)))) == found.frames


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


def message(draw: Random) -> str:
    kind = draw.randrange(4)
    if kind == 0:
        return draw.choice(WORDS)
    if kind == 1:
        return text(draw, 2000)
    if kind == 2:
        return draw.choice(["strength ", "model "]) + text(draw, 700)
    return f"strength {value(draw, 1)}"


@drawn(message, *WORDS)
def test_any_page_message_is_parsed_or_ignored(data: str) -> None:
    from rtdeblur.live.displays import SetStrength
    from rtdeblur.live.displays.web.requests import parse

    action = parse(data)
    if isinstance(action, SetStrength):
        assert 0 <= action.value <= 2


@drawn(lambda draw: text(draw, 300))
def test_any_text_is_printed_safely(data: str) -> None:
    shown = plain(data)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in shown)
    assert all(c in shown for c in data if c.isprintable())
