"""The whole session with doubles at its ends."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import av
import pytest
from fake_live import FakeBackend

from rtdeblur.errors import BackendError, InputError, OutputError
from rtdeblur.frames import Frame
from rtdeblur.live.capture import LiveCapture
from rtdeblur.live.displays import Command, SetStrength, UseModel
from rtdeblur.live.ladder import Candidate
from rtdeblur.live.outputs import LiveOutput
from rtdeblur.live.restorer import AUTO, LiveRestorer
from rtdeblur.live.session import LiveSession, LiveSettings


@pytest.fixture
def make(fake: SimpleNamespace, said: Callable[..., None]) -> Callable[..., LiveSession]:
    """A session of doubles; everything can be replaced."""

    def make(source, *, backend=None, displays=(), outputs=(), model="fast", **settings) -> LiveSession:
        backend = backend or fake.backend()
        restorer = LiveRestorer([model, AUTO], [Candidate("fast", 8.0, 24.0)], lambda name: backend)
        capture = LiveCapture(lambda: source, said)
        return LiveSession(capture, restorer, displays, outputs, said, LiveSettings(**settings))

    return make


def test_every_picture_of_a_slow_source_is_shown_in_order(fake, make) -> None:
    source = fake.source([fake.picture(i) for i in range(40)], finite=True, pace=0.02)
    display = fake.display()
    summary = make(source, displays=[display]).run()
    pts = [p.blurred.pts for p in display.pictures]
    assert pts == sorted(set(pts))
    assert summary.captured == 40
    assert summary.shown == len(pts) == 40 - summary.dropped
    assert len(pts) >= 20  # a loaded machine may drop some
    for shown in display.pictures:
        assert (shown.restored.planes[0] == 101).all()
        assert (shown.blurred.planes[0] == 100).all()
    assert display.threads == {threading.current_thread().name}
    assert display.closed
    assert source.closed
    assert summary.source_fps == pytest.approx(30)
    assert summary.latency_ms is not None
    assert next(summary.lines()).startswith(f"{summary.shown} pictures in ")
    assert next(replace(summary, shown=1).lines()).startswith("1 picture in ")


def test_a_file_starts_when_its_first_picture_is_restored(fake, make) -> None:
    source = fake.source([fake.picture(i) for i in range(10)], finite=True, pace=0.05)
    seconds = itertools.chain([0.5], itertools.repeat(0.0))  # the first picture compiles the model
    display = fake.display()
    summary = make(source, backend=fake.backend(lambda shape: next(seconds)), displays=[display]).run()
    assert summary.dropped <= 3  # a loaded machine may drop some
    assert [p.blurred.pts for p in display.pictures][:1] == [0]


def test_a_slow_model_gets_the_newest_picture_and_the_rest_is_counted(fake, make) -> None:
    source = fake.source([fake.picture(i) for i in range(300)], finite=True, pace=0.002)
    display = fake.display()
    summary = make(source, backend=fake.backend(lambda shape: 0.05), displays=[display]).run()
    assert summary.captured == 300
    assert summary.shown + summary.dropped == 300
    assert summary.shown < 60
    assert display.pictures[-1].blurred.pts == 299  # the last is never stale


def test_a_slow_display_gets_the_newest_picture_and_delays_nothing(fake, make) -> None:
    source = fake.source([fake.picture(i) for i in range(300)], finite=True, pace=0.002)
    display = fake.display(seconds=0.05)
    summary = make(source, displays=[display]).run()
    assert summary.captured == 300
    assert summary.shown + summary.dropped == 300
    assert summary.shown < 60


def test_auto_lowers_the_resolution_for_a_slow_model(fake, make) -> None:
    backend = fake.backend(lambda shape: 0.1 * shape[0] * shape[1] / (360 * 640))
    source = fake.source([fake.picture(i, 360, 640) for i in range(200)], finite=True, pace=0.01)
    display = fake.display()
    summary = make(source, backend=backend, displays=[display], model=AUTO).run()
    assert summary.working_size < (360, 640)
    assert display.statuses[-1].model == "fast (auto)"
    assert all(p.restored.planes[0].shape == (360, 640) for p in display.pictures)


def test_a_sudden_4k_frame_and_a_change_of_size_are_handled(fake, make) -> None:
    display, sizes = fake.display(), [(32, 48), (2160, 3840), (64, 96)]

    def shown() -> list[tuple[int, int]]:
        return [p.restored.planes[0].shape for p in display.pictures]

    def frames() -> Iterator[Frame]:
        index = itertools.count()
        for size in sizes:
            for _ in range(200):  # a busy machine drops some
                yield fake.picture(next(index), *size)
                if shown().count(size) >= 3:
                    break

    make(fake.source(frames(), finite=True, pace=0.05), displays=[display], model=AUTO).run()
    assert [*dict.fromkeys(shown())] == sizes
    assert all(p.restored.layout == p.blurred.layout for p in display.pictures)


def test_quit_ends_the_session(fake, make) -> None:
    source = fake.endless()
    display = fake.display({5: [Command.QUIT]})
    assert make(source, displays=[display]).run().shown == 5
    assert source.closed
    assert display.closed


def test_duration_and_stop_end_the_session(fake, make) -> None:
    assert make(fake.endless(), displays=[fake.display()], duration=0.2).run().shown > 0
    session = make(fake.endless(), displays=[fake.display()])
    threading.Timer(0.3, session.stop).start()
    session.run()


def test_duration_does_not_end_while_the_model_opens(fake, said) -> None:
    def open_slowly(name: str) -> FakeBackend:
        time.sleep(1)
        return FakeBackend()

    capture = LiveCapture(fake.endless, said)
    restorer = LiveRestorer(["fast"], [], open_slowly)
    session = LiveSession(capture, restorer, [fake.display()], [], said, LiveSettings(duration=0.1))
    assert session.run().shown > 0


def test_duration_is_kept_if_the_source_never_comes(said) -> None:
    def refuse():
        raise InputError("cannot open 'udp://x': no answer")

    restorer = LiveRestorer(["identity"], [], lambda name: FakeBackend())
    capture = LiveCapture(refuse, said, patient=True)
    session = LiveSession(capture, restorer, [], [], said, LiveSettings(duration=0.3))
    began = time.monotonic()
    assert session.run().shown == 0
    assert 0.3 <= time.monotonic() - began < 5


def test_a_model_can_be_chosen_by_name_and_auto_again(fake, make) -> None:
    display = fake.display({
        3: [UseModel("auto")], 10: [UseModel("nonsense")], 15: [Command.NEXT_MODEL], 20: [Command.NEXT_MODEL],
        40: [Command.QUIT],
    })  # fmt: skip
    make(fake.endless(), displays=[display]).run()
    choices = [s.choice for s in display.statuses]
    assert [c for i, c in enumerate(choices) if not i or c != choices[i - 1]] == [
        "fast",
        "auto",
        "fast",
        "auto",
    ]
    assert display.statuses[-1].models == ("fast", "auto")


def test_strength_can_be_set_during_a_session(fake, make) -> None:
    display = fake.display({5: [SetStrength(0.0)], 20: [SetStrength(2.0)], 40: [Command.QUIT]})
    make(fake.endless(), displays=[display]).run()
    levels = [int(p.restored.planes[0][0, 0]) for p in display.pictures]
    assert levels[0] == 101
    assert levels[15] == 100
    assert levels[-1] == 102
    assert {s.strength for s in display.statuses} == {1.0, 0.0, 2.0}


def test_finished_files_are_offered_to_displays(fake, make, tmp_path: Path) -> None:
    keys = {5: [Command.RECORD], 10: [Command.SNAPSHOT], 30: [Command.RECORD]}
    display = fake.display(keys, script=lambda shown, status: [Command.QUIT] * (len(status.saved) == 3))
    make(fake.endless(), displays=[display], folder=tmp_path).run()
    saved = display.statuses[-1].saved
    assert sorted(saved) == sorted(tmp_path.iterdir())
    with av.open(str(next(p for p in saved if p.suffix == ".mkv"))) as container:
        assert list(container.decode(video=0))


def test_pause_freezes_displays_while_outputs_continue(fake, make, said) -> None:
    output = LiveOutput("sending", fake.sink().open, said)

    def script(shown: int, status):
        if status.paused:
            return [Command.PAUSE] if output.frames > 40 else []
        return [Command.PAUSE] if shown == 5 and output.frames < 40 else [Command.QUIT] * (shown == 10)

    display = fake.display(script=script)
    summary = make(fake.endless(), displays=[display], outputs=[output]).run()
    paused = [s for s in display.statuses if s.paused]
    assert len(paused) > 5
    assert summary.shown == 10
    assert output.frames > 40


def test_a_display_that_fails_ends_the_session_cleanly(fake, make) -> None:
    def script(shown: int, status):
        raise RuntimeError("no screen")

    source, display = fake.endless(), fake.display(script=script)
    with pytest.raises(RuntimeError, match="no screen"):
        make(source, displays=[display]).run()
    assert source.closed
    assert display.closed


def test_a_display_that_cannot_be_closed_does_not_keep_the_others_open(fake, make, monkeypatch) -> None:
    def fail() -> None:
        raise RuntimeError("no screen")

    first, second = fake.display({1: [Command.QUIT]}), fake.display()
    monkeypatch.setattr(first, "close", fail)
    with pytest.raises(RuntimeError, match="no screen"):
        make(fake.endless(), displays=[first, second]).run()
    assert second.closed


def test_a_key_starts_and_stops_a_recording(fake, make, tmp_path: Path) -> None:
    display = fake.display({5: [Command.RECORD], 25: [Command.RECORD], 40: [Command.QUIT]})
    summary = make(fake.endless(), displays=[display], folder=tmp_path).run()
    (file,) = tmp_path.iterdir()
    assert file.suffix == ".mkv"
    assert {s.recording for s in display.statuses} == {True, False}
    assert not display.statuses[-1].recording
    with av.open(str(file)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == summary.outputs[0].frames > 5
    assert abs(int(frames[-1].to_ndarray()[:32].mean()) - 101) <= 2


def test_a_snapshot_is_a_pair_of_pictures(fake, make, tmp_path: Path, said) -> None:
    display = fake.display({3: [Command.SNAPSHOT], 6: [Command.QUIT]})
    make(fake.endless(), displays=[display], folder=tmp_path).run()
    blurred, restored = sorted(tmp_path.iterdir())
    assert blurred.name.endswith("-blurred.png")
    assert restored.name.endswith("-restored.png")
    grey = [next(av.open(str(path)).decode(video=0)).to_ndarray(format="gray").mean() for path in
            (blurred, restored)]  # fmt: skip
    assert grey[1] - grey[0] == pytest.approx(255 / 219, abs=0.6)
    assert any("saved" in line for line in said.lines)


def test_the_next_model_can_be_requested_and_is_shown(fake, make) -> None:
    display = fake.display({5: [Command.NEXT_MODEL], 40: [Command.QUIT]})
    make(fake.endless(), displays=[display]).run()
    models = [s.model for s in display.statuses]
    assert models.index("fast (auto)") > 0
    assert any(s.message == "model: auto" for s in display.statuses)


def test_a_session_that_cannot_start_is_an_error(fake, make, said) -> None:
    backend = fake.backend()
    backend.error = BackendError("a frame is too small")
    with pytest.raises(BackendError, match="too small"):
        make(fake.endless(), backend=backend, displays=[fake.display()]).run()
    with pytest.raises(InputError, match="the cable"):
        make(fake.source([fake.lost("the cable is out")]), displays=[fake.display()]).run()

    def refuse(frame, rate):
        raise OutputError("cannot open 'rtmp://x': Connection refused")

    output = LiveOutput("sending", refuse, said, persistent=True, required=True)
    with pytest.raises(OutputError, match="Connection refused"):
        make(fake.endless(), displays=[fake.display()], outputs=[output]).run()
    assert not any("refused" in line for line in said.lines)  # the error says it


def test_a_failed_recording_started_by_key_is_reported(fake, make, tmp_path: Path, said) -> None:
    folder = tmp_path / "gone"

    display = fake.display({5: [Command.RECORD], 60: [Command.QUIT]})
    assert make(fake.endless(), displays=[display], folder=folder).run().shown == 60
    assert any(line.startswith(f"warning: cannot open '{folder}") for line in said.lines)
    assert not display.statuses[-1].recording


def test_a_model_that_fails_later_does_not_end_the_session(fake, make, said) -> None:
    backend = fake.backend()

    def script(shown: int, status):
        backend.error = BackendError("out of memory") if 5 <= shown < 10 else None
        return [Command.QUIT] if shown == 20 else []

    display = fake.display(script=script)
    summary = make(fake.endless(), backend=backend, displays=[display]).run()
    assert summary.unrestored >= 4
    assert summary.shown == 20
    assert "warning: out of memory; pictures pass unrestored" in said.lines
    assert any(s.message == "out of memory" for s in display.statuses)
    assert display.statuses[-1].message == ""


def test_broken_model_output_is_reported(fake, make, said) -> None:
    backend = fake.backend()

    def script(shown: int, status):
        backend.broken = 5 <= shown < 10
        return [Command.QUIT] if shown == 20 else []

    display = fake.display(script=script)
    summary = make(fake.endless(), backend=backend, displays=[display]).run()
    assert 4 <= summary.unrestored < 20
    assert said.lines.count("warning: the model's output is broken; pictures pass unrestored") == 1
    assert any(s.message == "the model's output is broken" for s in display.statuses)
    assert display.statuses[-1].message == ""


def test_the_session_ends_when_no_output_is_left(fake, make, said) -> None:
    full = fake.sink(fail_at=range(4, 1000))
    full.problem = "cannot write 'x.mkv': No space left on device"
    output = LiveOutput("recording", full.open, said)
    with pytest.raises(OutputError, match="No space left"):
        make(fake.endless(), outputs=[output]).run()
