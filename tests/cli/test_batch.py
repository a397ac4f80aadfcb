"""`rtdeblur batch`: files and ranges of long ones as tasks of Ray."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from rtdeblur.cli import batch, cluster, main, schedule
from rtdeblur.cli.cluster import Node
from rtdeblur.cli.node_tasks import difference
from rtdeblur.errors import first_line, last_line

MakeClip = Callable[..., Path]
ROOT = Path(__file__).parents[2]
IDENTITY = ("--model", "identity", "-q")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def folder(make_clip: MakeClip, tmp_path: Path) -> Path:
    """A long video, a short one and a broken one."""
    folder = tmp_path / "in"
    folder.mkdir()
    long = make_clip(".mkv", "-g", "40", "-preset", "medium", frames=620)
    (folder / "long.mkv").write_bytes(long.read_bytes())
    (folder / "short.mp4").write_bytes(make_clip(".mp4").read_bytes())
    (folder / "broken.mp4").write_text("no video")
    return folder


@pytest.mark.needs_posix
@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray")
def test_two_nodes_write_the_bytes_of_a_single_machine(folder: Path, tmp_path: Path) -> None:
    assert main([str(folder), "-o", f"{tmp_path}/single/", *IDENTITY]) == 1
    words = [str(folder), "-o", f"{tmp_path}/shared/", *IDENTITY, "--json", "--split", "300"]
    script = ROOT / "tests/doubles/ray_cluster.py"
    run = subprocess.run([sys.executable, script, *words], capture_output=True, text=True)
    assert run.returncode == 1, run.stderr
    report = json.loads(run.stdout)
    assert (report["restored"], report["failed"], len(report["nodes"])) == (2, 1, 2)
    assert (report["frames"], report["nodes_left_out"]) == (632, [])
    errors = [line for line in run.stderr.splitlines() if line.startswith("rtdeblur: error")]
    assert len(errors) == 1
    assert "broken.mp4" in errors[0]
    files = {path.name: path.read_bytes() for path in (tmp_path / "shared").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "single").iterdir()}
    assert files.keys() == {"long.mkv", "short.mp4"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "shared", "single"]


def processes_with(mark: bytes) -> set[str]:
    """Command lines of the processes whose environment has a mark."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if mark in (process / "environ").read_bytes():
                found.add((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def can_hide_folders() -> bool:
    return sys.platform == "linux" and not subprocess.call(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], stderr=subprocess.DEVNULL
    )


@pytest.mark.needs_posix
@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray")
def test_nodes_that_do_not_see_the_storage_return_the_bytes_of_a_single_machine(
    folder: Path, tmp_path: Path
) -> None:
    if not can_hide_folders():
        pytest.skip("needs the right to mount")
    left = set(Path(tempfile.gettempdir()).glob("rtdeblur-node-*"))
    assert main([str(folder), "-o", f"{tmp_path}/single/", *IDENTITY]) == 1
    words = [str(folder), "-o", f"{tmp_path}/sent/", *IDENTITY, "--json", "--split", "300"]
    run = subprocess.run(
        [sys.executable, ROOT / "tests/doubles/ray_cluster.py", *words],
        env={**os.environ, "HIDDEN_FOLDER": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1, run.stderr
    report = json.loads(run.stdout)
    assert (report["restored"], report["failed"], len(report["nodes"])) == (2, 1, 2)
    assert report["nodes_left_out"] == []
    errors = [line for line in run.stderr.splitlines() if line.startswith("rtdeblur: error")]
    assert len(errors) == 1
    assert f"{str(folder / 'broken.mp4')!r}" in errors[0]
    files = {path.name: path.read_bytes() for path in (tmp_path / "sent").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "single").iterdir()}
    deadline = time.monotonic() + 20
    while set(Path(tempfile.gettempdir()).glob("rtdeblur-node-*")) - left:
        assert time.monotonic() < deadline, "a node's folder is left"
        time.sleep(0.1)


@pytest.mark.skipif(sys.platform != "linux" or find_spec("ray") is None, reason="needs Linux and Ray")
def test_a_local_ray_inherits_the_environment_and_leaves_nothing(make_clip: MakeClip, tmp_path: Path) -> None:
    clip, mark = make_clip(".mp4"), secrets.token_hex(8)
    words = [sys.executable, "-m", "rtdeblur", "batch", str(clip), "-o", f"{tmp_path}/out/", *IDENTITY]
    seen: set[str] = set()
    with subprocess.Popen(words, env={**os.environ, "RTDEBLUR_MARK": mark}) as run:
        while run.poll() is None:
            seen |= processes_with(mark.encode())
            time.sleep(0.1)
    assert run.returncode == 0
    assert any(line.startswith("ray::") for line in seen)
    assert processes_with(mark.encode()) == set()
    assert list(Path("/tmp").glob(f"rtdeblur-ray-{run.pid}-*")) == []
    assert main([str(clip), "-o", f"{tmp_path}/plain/", *IDENTITY]) == 0
    out, plain = tmp_path / "out" / clip.name, tmp_path / "plain" / clip.name
    assert out.read_bytes() == plain.read_bytes()


def test_a_second_batch_into_the_same_folder_is_refused(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with batch._locked(out):
        assert main(["batch", str(folder), "-o", f"{out}/"]) == 1
    assert capfd.readouterr().err == (
        f"rtdeblur: error: another batch writes into {str(out)!r}; wait for it to end\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_unreachable_cluster_is_one_line(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    address = f"127.0.0.1:{free_port()}"
    assert main(["batch", str(folder), "-o", f"{tmp_path}/out/", "--ray", address]) == 1
    said = capfd.readouterr().err.splitlines()
    assert said == [
        f"rtdeblur: error: no Ray cluster answers at {address}: Connection refused; start one with "
        "`ray start --head`, or leave out the address to use this machine only"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["IN", "-o", "OUT", "--ray", "IN"], "expected HOST:PORT of a Ray cluster"),
        (["IN"], "add -o FOLDER/"),
        (["-", "-o", "OUT"], "add -o FOLDER/"),
        (["IN", "-o", "-"], "add -o FOLDER/"),
        (["IN", "-o", "out.mp4"], "add -o FOLDER/"),
        (["IN", "-o", "OUT", "--resume"], "No such option"),
    ],
)
def test_usage_errors(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    names = {"IN": str(folder), "OUT": str(tmp_path / "out")}
    assert main(["batch", *(names.get(word, word) for word in words)]) == 2
    assert message in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_without_ray_the_install_command_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["batch", str(folder), "-o", f"{tmp_path}/out/"]) == 1
    assert "pip install 'rtdeblur[ray]'" in capfd.readouterr().err


HERE = {"rtdeblur": "0.2.0", "processor cores": "8"}


def chosen(monkeypatch: pytest.MonkeyPatch, nodes: list[Node]) -> cluster.Cluster:
    class Request:
        model, engine_dir, backend, device = None, None, "openvino", "auto"

    monkeypatch.setattr(cluster, "_nodes", lambda: nodes)
    monkeypatch.setattr(cluster, "_anywhere", lambda request: request)
    monkeypatch.setattr(cluster, "_probe", lambda found, *_: found)
    return cluster.Cluster(Request(), ())  # type: ignore[arg-type]


def test_the_largest_group_of_equal_nodes_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    old = {**HERE, "rtdeblur": "0.1.0"}
    nodes = [
        Node("a", "10.0.0.1", 8, 0, HERE),
        Node("b", "10.0.0.2", 8, 0, old),
        Node("c", "10.0.0.3", 4, 0, HERE),
        Node("d", "10.0.0.4", 8, 0, problem="it does not see '/data'"),
    ]
    found = chosen(monkeypatch, nodes)
    assert [node.id for node in found.nodes] == ["a", "c"]
    assert {node.id: node.problem for node in found.left_out} == {
        "b": "rtdeblur is 0.1.0, expected 0.2.0",
        "d": "it does not see '/data'",
    }
    assert found.slots == 3  # two of four cores on the first node


def test_a_cluster_without_usable_nodes_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(cluster.RtdeblurError, match=r"no node can be used: 10\.0\.0\.4: too old"):
        chosen(monkeypatch, [Node("d", "10.0.0.4", 8, 0, problem="too old")])


def test_a_batch_without_any_node_left_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    found = chosen(monkeypatch, [Node("a", "10.0.0.1", 8, 0, HERE), Node("c", "10.0.0.3", 8, 0, HERE)])
    found.exclude(cluster.Differs("c", "it has no room"))
    with pytest.raises(cluster.RtdeblurError, match="no node is left: it has no room"):
        found.exclude(cluster.Differs("a", "it has no room"))


def test_differences_name_both_values() -> None:
    assert difference({"a": "1", "b": "2"}, {"a": "1", "c": "3"}) == (
        "b is 2, expected None, c is None, expected 3"
    )


def test_ranges_are_runs_of_missing_segments(make_clip: MakeClip) -> None:
    from rtdeblur.ranges import Section

    sections = [Section(first, 10, first, None, None) for first in (0, 10, 30, 40, 50, 60)]
    runs = schedule._runs(sections, 3)
    assert [[section.first for section in run] for run in runs] == [[0, 10], [30, 40, 50], [60]]


@pytest.mark.parametrize(
    ("text", "line"), [("trace\n  what failed \n\n", "what failed"), ("one", "one"), (" \n", "ValueError")]
)
def test_the_last_line_of_an_error_says_what_failed(text: str, line: str) -> None:
    assert last_line(ValueError(text)) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [("\n  what failed. \n\ndetails.", "what failed"), ("one", "one"), (" \n", "ValueError")],
)
def test_the_first_line_of_an_error_from_ray_says_what_failed(text: str, line: str) -> None:
    assert first_line(ValueError(text)) == line
