"""`verify` finds every mutation of a copy and passes faithful copies (more: `scripts/mutate.py`)."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest

from rtdeblur.media.verify import compare, plain_copy, read_contents
from rtdeblur.media.verify.contents import Contents
from rtdeblur.media.verify.thumbnails import misplaced

Ffmpeg = Callable[..., bytes]
MakeClip = Callable[..., Path]

SCRIPT = Path(__file__).parents[3] / "scripts" / "mutate.py"


@pytest.fixture(scope="module")
def mutate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutate", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutate"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


# A tenth of the mutations each, so that all are tried.
@pytest.mark.parametrize(
    ("number", "ending"),
    list(enumerate(["mkv", "mp4", "mov", "ts", "avi", "webm", "nut", "wmv", "mpg", "m4v"])),
)
def test_every_mutation_is_found(number: int, ending: str, mutate: ModuleType, tmp_path: Path) -> None:
    names = list(mutate.MUTATIONS)[number::10]
    outcomes = list(mutate.mutated(ending, tmp_path, names))
    assert len(outcomes) > 4
    assert [(o.name, o.told) for o in outcomes if o.failed] == []


@pytest.mark.parametrize(
    ("source", "target"), [("mkv", "avi"), ("mp4", "mkv"), ("avi", "mp4"), ("ts", "mov")]
)
def test_our_own_output_always_passes(source: str, target: str, mutate: ModuleType, tmp_path: Path) -> None:
    mutate.make(tmp_path, source)
    outcomes = list(mutate.restored(source, tmp_path, [target]))
    assert [(o.name, o.told) for o in outcomes if o.failed] == []


def test_there_are_enough_mutations(mutate: ModuleType) -> None:
    assert len(mutate.MUTATIONS) >= 40
    assert len(mutate.CONTAINERS) >= 10


def test_the_script_sees_a_mutation_that_is_missed(
    mutate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutate, "differences", lambda before, after: [])
    outcomes = list(mutate.mutated("nut", tmp_path, ["drop middle picture"]))
    assert [o.failed for o in outcomes] == [False, False, True]


def test_pictures_that_differ_with_each_decoding_are_not_misplaced(
    make_clip: MakeClip, tmp_path: Path
) -> None:
    clip = make_clip(".flv", "-g", "10", size="192x108", frames=50, sound=False)
    with av.open(str(clip)) as container:
        key = list(container.demux(video=0))[20]
    data = bytearray(clip.read_bytes())
    for place in range(key.pos + key.size // 4, key.pos + key.size // 2):
        data[place] ^= 0x5A
    (tmp_path / "damaged.flv").write_bytes(data)
    before, after = (read_contents(tmp_path / "damaged.flv") for _ in range(2))
    first, last = min(before.concealed), max(before.concealed)
    assert (first, last) == (20, 29)  # up to the next key frame
    assert len(before.concealed) == 10
    pictures = after.thumbnails
    pictures[first], pictures[last] = pictures[last], pictures[first]
    assert statuses(before, after)["frame order"] == "same"
    pictures[0], pictures[-1] = pictures[-1], pictures[0]
    assert statuses(before, after)["frame order"] == "different"


def statuses(before: Contents, after: Contents) -> dict[str, str]:
    return {check.name: check.status for check in compare(before, after, lambda: None)}


@pytest.mark.parametrize("lost", [0, 1, 3])
def test_frames_that_the_decoder_holds_are_counted_in_any_order_of_streams(
    lost: int, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    inputs = ("-f", "lavfi", "-i", "sine=d=1", "-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=1")
    first, after = tmp_path / "first.mp4", tmp_path / "after.mp4"
    ffmpeg(*inputs, "-map", 0, "-map", 1, "-c:v", "libx264", "-c:a", "aac", first)
    words = ("-c:v", "libx264", "-frames:v", 25 - lost) if lost else ("-c:v", "copy")
    ffmpeg("-i", first, "-map", "0:v", "-map", "0:a", *words, "-c:a", "copy", after)
    assert len(read_contents(first).frames) == 25
    checks = {c.name: c for c in compare(read_contents(first), read_contents(after), lambda: None)}
    assert checks["frames"].status == ("different" if lost else "same")
    assert checks["frames"].after == str(25 - lost)


@pytest.mark.parametrize(("ending", "other"), [(".ts", ".mp4"), (".mp4", ".ts"), (".h264", ".mkv")])
def test_start_codes_and_lengths_compare_equal(
    ending: str, other: str, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    video = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=0.4", "-c:v", "libx264", "-bf", 2)
    second = tmp_path / f"second{ending}"
    ffmpeg(*video, second)
    if ending == ".h264":
        ffmpeg("-r", 25, "-i", second, "-c", "copy", tmp_path / "second.mp4")
        second, ending = tmp_path / "second.mp4", ".mp4"
    source, copy = tmp_path / f"two{ending}", tmp_path / f"copy{other}"
    ffmpeg("-i", second, "-i", second, "-map", 0, "-map", 1, "-c", "copy", source)
    ffmpeg("-i", source, "-map", 0, "-c", "copy", copy)
    checks = compare(read_contents(source), read_contents(copy), lambda: plain_copy(source, copy))
    assert [c for c in checks if c.name == "video 1 packets" and c.status != "same"] == []


def thumbnails(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    still = rng.integers(40, 200, (16, 16))
    return [np.roll(still, shift, 1).astype(np.uint8) for shift in range(count)]


def test_brighter_or_noisy_pictures_are_not_misplaced() -> None:
    before = thumbnails(10)
    rng = np.random.default_rng(1)
    after = [np.clip(t * 1.2 + 20 + rng.normal(0, 2, t.shape), 0, 255).astype(np.uint8) for t in before]
    assert misplaced(before, after) == []


def test_exchanged_pictures_are_reported() -> None:
    before = thumbnails(10)
    after = [*before[:3], before[7], *before[4:7], before[3], *before[8:]]
    assert misplaced(before, after) == [(3, 7), (7, 3)]
