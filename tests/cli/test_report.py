"""Printed text holds no terminal sequence, and a broken output stream fails no run."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rtdeblur.cli.report import plain, table

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has other terminals")
EVIL = "\x1b]0;PWNED\x07"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ümlaut 日本 🎬 × …", "ümlaut 日本 🎬 × …"),
        ("[red]x[/red]", "[red]x[/red]"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b2J\x90", r"\x9b2J\x90"),
        ("a\rb\nc\td\x08\x7f\0", r"a\rb\nc\td\x08\x7f\x00"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
        ("\u2028\u2029", r"\u2028\u2029"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_a_table_escapes_control_characters() -> None:
    assert table([("name",), (EVIL,)]).split() == ["name", r"\x1b]0;PWNED\x07"]


@pytest.fixture
def on_a_terminal() -> Callable[..., bytes]:
    """Run the program on a terminal; return everything printed there."""

    def run(*args: object) -> bytes:
        shown, terminal = os.openpty()
        words = [sys.executable, "-m", "rtdeblur", *map(str, args)]
        with subprocess.Popen(words, stdout=terminal, stderr=terminal, stdin=subprocess.DEVNULL) as process:
            os.close(terminal)
            said = b""
            while True:
                try:
                    said += os.read(shown, 65536)
                except OSError:  # all its ends are closed
                    break
            assert process.wait() in (0, 1, 2)
        os.close(shown)
        return said

    return run


@pytest.fixture
def hostile(tmp_path: Path, ffmpeg: Callable[..., bytes]) -> Path:
    """A video with control sequences in its tags, its attachment's name and its folder's name."""
    folder = tmp_path / f"folder{EVIL}"
    folder.mkdir()
    video = folder / f"name{EVIL}.mkv"
    note = tmp_path / "note.txt"
    note.write_text("x")
    picture = ("-f", "lavfi", "-i", "testsrc2=s=64x64:r=25:d=0.2", "-c:v", "libx264")
    attachment = (
        "-attach",
        note,
        "-metadata:s:t",
        "mimetype=application/x",
        "-metadata:s:t",
        f"filename=a{EVIL}.bin",
    )
    ffmpeg(*picture, *attachment, "-metadata", f"key{EVIL}=v", "-metadata", f"title={EVIL}", video)
    return video


def restore(video: Path, tmp_path: Path) -> tuple[object, ...]:
    return video, "-o", tmp_path / "out.mp4", "--model", "identity"


def restore_folder(video: Path, tmp_path: Path) -> tuple[object, ...]:
    return video.parent, "-o", tmp_path / f"restored{EVIL}/", "--model", "identity"


def resume(video: Path, tmp_path: Path) -> tuple[object, ...]:
    folder = tmp_path / ".out.mkv.rtdeblur"
    folder.mkdir(mode=0o700)
    description = {"version": 2, "fields": {"codec": EVIL, EVIL: "x"}}
    (folder / "job.json").write_text(json.dumps(description))
    (folder / "00000000.segment").write_text("x")
    return video, "-o", tmp_path / "out.mkv", "--model", "identity", "--resume"


def verify(video: Path, tmp_path: Path) -> tuple[object, ...]:
    (tmp_path / "b.mkv").write_bytes(video.read_bytes().replace(b"PWNED", b"OTHER"))
    return "verify", video, tmp_path / "b.mkv"


def missing(video: Path, tmp_path: Path) -> tuple[object, ...]:
    return f"none{EVIL}.mp4", "-o", tmp_path / "out.mp4"


def strange_option(video: Path, tmp_path: Path) -> tuple[object, ...]:
    return video, "-o", tmp_path / "out.mp4", f"--{EVIL}"


def strange_codec(video: Path, tmp_path: Path) -> tuple[object, ...]:
    return video, "-o", tmp_path / "out.mp4", "--codec", EVIL


def strange_model(video: Path, tmp_path: Path) -> tuple[object, ...]:
    (tmp_path / "m.onnx").write_bytes(b"no graph")
    manifest = {
        "format_version": 1, "name": EVIL, "architecture": {}, "stride": 8, "precision": "fp32",
        "dropout": "off",
        "sha256": hashlib.sha256(b"no graph").hexdigest(), "licence": EVIL,
    }  # fmt: skip
    (tmp_path / "m.json").write_text(json.dumps(manifest))
    return video, "-o", tmp_path / "out.mp4", "--model", tmp_path / "m.onnx", "--dropout", "paper"


def engines(video: Path, tmp_path: Path) -> tuple[object, ...]:
    folder = tmp_path / f"engines{EVIL}"
    folder.mkdir(mode=0o700)
    (folder / f"x{EVIL}.engine").write_bytes(b"x")
    (folder / f"x{EVIL}.json").write_text(json.dumps({"format_version": 1, EVIL: 1}))
    return "engines", "--engine-dir", folder


def build(video: Path, tmp_path: Path) -> tuple[object, ...]:
    profile = tmp_path / f"p{EVIL}.toml"
    profile.write_text(f"gpus = {json.dumps(EVIL)}\nflavour = {json.dumps(EVIL)}\n")
    return "build", "--profile", profile


def live(video: Path, tmp_path: Path) -> tuple[object, ...]:
    return "live", video, "--no-window", "-o", tmp_path / f"out{EVIL}.mkv", "--model", "identity"


COMMANDS = [
    restore, restore_folder, resume, verify, missing, strange_option, strange_codec, strange_model, engines,
    build, live,
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_terminal_sequences_from_files_are_escaped(
    command: Callable[[Path, Path], tuple[object, ...]],
    hostile: Path,
    tmp_path: Path,
    on_a_terminal: Callable[..., bytes],
) -> None:
    said = on_a_terminal(*command(hostile, tmp_path))
    assert EVIL.encode() not in said
    assert b"\x1b]0;" not in said
    assert b"Traceback" not in said
    assert rb"\x1b]0;PWNED" in said


@pytest.mark.parametrize("name", ["[red]x[/red]", "[/]", "[bold", "x[/red]y"])
def test_names_are_not_read_as_markup(
    name: str, clip: Path, tmp_path: Path, on_a_terminal: Callable[..., bytes]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / f"{name.replace('/', '⁄')}.mkv").write_bytes(clip.read_bytes())
    (tmp_path / name.replace("/", "⁄")).mkdir()
    said = on_a_terminal(folder, "-o", f"{tmp_path}/out/", "--model", "identity").decode()
    assert f"{name.replace('/', '⁄')}.mkv" in said
    assert "1 of 1 video restored" in said


SHELL = ("bash", "-c", 'exec "$@"{}', "-")


@pytest.mark.parametrize(
    "closed", ["2>&-", "0<&-", "1>&-", "0<&- 1>&- 2>&-", "2>/dev/full", "1>/dev/full 2>/dev/full"]
)
def test_closed_or_full_output_streams_fail_no_run(closed: str, clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    words = [*SHELL[:2], SHELL[2].format(f" {closed}"), "-", sys.executable, "-m", "rtdeblur"]
    assert subprocess.run([*words, clip, "-o", output, "--model", "identity"]).returncode == 0
    whole = tmp_path / "whole.mkv"
    subprocess.run([sys.executable, "-m", "rtdeblur", clip, "-o", whole, "--model", "identity"], check=True)
    assert output.read_bytes() == whole.read_bytes()


def shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True)


@pytest.mark.parametrize(
    "command",
    ["models", "doctor --json", "models --json", "--version", "--help", "engines", "engines --json"],
)
@pytest.mark.parametrize(
    ("where", "reason"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")]
)
def test_requested_output_that_cannot_be_printed_is_an_error(command: str, where: str, reason: str) -> None:
    done = shell(f"{sys.executable} -m rtdeblur {command} {where}")
    assert done.returncode == 1
    assert done.stderr == f"rtdeblur: error: {reason}\n"


def test_a_closed_reader_is_not_an_error() -> None:
    done = shell(f"{{ {sys.executable} -m rtdeblur models --json; echo $? >&2; }} | true")
    assert done.stderr == "1\n"


def test_a_video_to_a_closed_stream_is_one_line(clip: Path) -> None:
    done = shell(f"{sys.executable} -m rtdeblur {clip} -o - --model identity -q >&-")
    assert done.returncode == 1
    assert done.stderr.startswith("rtdeblur: error: ")
    assert done.stderr.count("\n") == 1
