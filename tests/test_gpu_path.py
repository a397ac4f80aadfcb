"""From decoder to encoder in GPU memory, on a fake GPU (`fake_gpu`, `fake_nvcodec`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import fake_nvcodec
import numpy as np
import pytest
from brighten import Gpu, brighten
from fake_gpu import FakeDriver
from reachable import reachable

from rtdeblur.backends.identity import IdentityBackend
from rtdeblur.device import DeviceFrame
from rtdeblur.frames import Frame
from rtdeblur.gpu_path import Wanted, connect, open_reader
from rtdeblur.media import codecs
from rtdeblur.media.writer import FileWriter
from rtdeblur.model import Manifest, Model
from rtdeblur.pipeline import Pipeline

MakeClip = Callable[..., Path]
SIZE = "192x128"
ON_DEVICE = "decoded by cuda, encoded by h264_nvenc, frames stay in GPU memory"


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Engines kept between tests, so that the parity test runs once."""
    return tmp_path_factory.mktemp("engines")


@pytest.fixture
def gpu(engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    manifest = Manifest(1, "brighten", "0" * 64, {}, 16, "fp16", "off", "MIT")
    gpu = Gpu(Model(manifest, brighten(), tmp_path / "brighten.onnx"), engines, FakeDriver())
    monkeypatch.setattr("rtdeblur.backends.tensorrt.pool.build", gpu.trt.build)
    return gpu


def restore(gpu: Gpu, source: Path, output: Path, wanted: Wanted | None = None, **options: object) -> str:
    """Restore a file as the program does; return the path that frames took."""
    reader, obstacle = open_reader(source, wanted or Wanted(), **options)
    writer = FileWriter(reader, output, codec=(wanted or Wanted()).codec, resume=False)
    gpu.driver.closed = 0
    backend = gpu.backend()
    way = str(connect(reader, backend, writer, obstacle))
    writer.begin({})
    try:
        Pipeline(reader, backend, writer, batch_size=3).run()
    finally:
        backend.close()
    assert gpu.driver.alive == 0
    return way


def shown(path: Path) -> list[tuple[object, np.ndarray]]:
    """Return the times and samples of a file's frames."""
    with av.open(str(path)) as container:
        return [(f.time, f.to_ndarray(format="yuv420p").astype(int)) for f in container.decode(video=0)]


def packets(path: Path) -> list[tuple[object, ...]]:
    """Return the times and bytes of a file's audio packets."""
    with av.open(str(path)) as container:
        return [(p.pts, p.dts, p.time_base, bytes(p)) for p in container.demux(audio=0)]


def assert_brighter(output: Path, source: Path) -> None:
    ours, theirs = shown(output), shown(source)
    assert [time for time, _ in ours] == [time for time, _ in theirs]
    for (_, new), (_, old) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(new, np.minimum(old + 1, 255))


def test_frames_never_leave_the_gpu(
    gpu: Gpu, make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(".mkv", "-metadata", "title=kept", size=SIZE)
    taken = fake_nvcodec.install(monkeypatch, gpu.driver)
    output = tmp_path / "out.mkv"
    assert restore(gpu, clip, output) == ON_DEVICE
    assert taken == ["cuda"] * 12
    assert_brighter(output, clip)
    copies = [call[2] for call in gpu.driver.calls if call[0] in ("upload", "download")]
    assert sum(n >= 192 * 128 for n in copies) in (0, 2)  # for the test picture, if the engine is new
    host = tmp_path / "host.mkv"
    way = restore(gpu, clip, host, Wanted("cpu", codec="libx264"))
    assert way == "decoded by cpu, encoded by libx264, frames in host memory (decoded on the CPU)"
    assert packets(output) == packets(host)
    with av.open(str(output)) as ours, av.open(str(host)) as theirs:
        assert ours.metadata["title"] == theirs.metadata["title"] == "kept"
        assert len(ours.streams) == len(theirs.streams) == 2
        for name in ("color_range", "colorspace", "sample_aspect_ratio"):
            a, b = (getattr(c.streams.video[0].codec_context, name) for c in (ours, theirs))
            assert a == b


@pytest.mark.parametrize("other", ["p010le", "yuv420p"])
def test_frames_of_another_format_pass_through_the_host(
    gpu: Gpu, make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """NVDEC returns P010 if a stream continues in 10 bits; FFmpeg decodes in software what NVDEC cannot."""
    clip = make_clip(".mkv", size=SIZE)
    taken = fake_nvcodec.install(monkeypatch, gpu.driver, lambda n: other if n in (4, 5, 11) else "nv12")
    output = tmp_path / "out.mkv"
    assert restore(gpu, clip, output) == ON_DEVICE
    assert [n for n, memory in enumerate(taken) if memory == "cpu"] == [4, 5, 11]
    if other == "yuv420p":
        assert_brighter(output, clip)
    assert len(shown(output)) == 12


def test_a_change_of_size_is_scaled_as_on_the_host_path(
    gpu: Gpu, make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = tmp_path / "both.h264"
    parts = [make_clip(".h264", size=size, frames=6, sound=False) for size in (SIZE, "240x160")]
    clip.write_bytes(b"".join(part.read_bytes() for part in parts))
    taken = fake_nvcodec.install(monkeypatch, gpu.driver)
    assert restore(gpu, clip, tmp_path / "out.mkv") == ON_DEVICE
    assert taken == ["cuda"] * 6 + ["cpu"] * 6
    ours, theirs = shown(tmp_path / "out.mkv"), shown(parts[1])
    assert {picture.shape for _, picture in ours} == {(128 * 3 // 2, 192)}
    assert ours[-1][1].mean() == pytest.approx(theirs[-1][1].mean() + 1, abs=1)


def test_damage_is_counted_and_the_rest_restored(
    gpu: Gpu, make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_clip(".h264", "-g", "4", size=SIZE, sound=False)
    data = bytearray(whole.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    clip = tmp_path / "damaged.h264"
    clip.write_bytes(data)
    taken = fake_nvcodec.install(monkeypatch, gpu.driver)
    reader, obstacle = open_reader(clip, Wanted())
    writer = FileWriter(reader, tmp_path / "out.mkv", resume=False)
    backend = gpu.backend()
    assert str(connect(reader, backend, writer, obstacle)) == ON_DEVICE
    writer.begin({})
    stats = Pipeline(reader, backend, writer).run()
    backend.close()
    assert reader.damage.count > 0
    assert len(taken) == stats.frames > 6


@pytest.mark.parametrize(
    ("wanted", "options", "why"),
    [
        (Wanted("cpu"), {}, "decoded on the CPU"),
        (Wanted(backend="openvino"), {}, "required by openvino"),
        (Wanted(codec="ffv1"), {}, "ffv1 encodes on the CPU"),
        (Wanted(quality=True), {}, "crf and preset select a CPU encoder"),
        (Wanted(deinterlace=True), {"deinterlace": "frame"}, "deinterlacing runs on the CPU"),
        (Wanted("cuda", deinterlace=True), {"deinterlace": "frame"}, "deinterlaced on the CPU"),
        (Wanted("cuda", codec="ffv1"), {}, "required by encoder ffv1"),
    ],
    ids=["asked", "openvino", "codec", "quality", "fields", "fields, asked", "codec, asked"],
)
def test_the_reason_for_using_host_memory_is_reported(
    gpu: Gpu, make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    wanted: Wanted, options: dict[str, object], why: str,
) -> None:  # fmt: skip
    taken = fake_nvcodec.install(monkeypatch, gpu.driver)
    way = restore(gpu, make_clip(".mkv", size=SIZE), tmp_path / "out.mkv", wanted, **options)
    assert f"frames in host memory ({why}" in way
    assert way.startswith("decoded by cuda" if wanted.decoder == "cuda" else "decoded by cpu")
    assert "cuda" not in taken
    if not wanted.deinterlace and not wanted.quality:
        assert_brighter(tmp_path / "out.mkv", make_clip(".mkv", size=SIZE))


def test_ten_bits_and_undecodable_files_are_reported(
    gpu: Gpu, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_nvcodec.install(monkeypatch, gpu.driver, lambda _: "p010le")
    clip = make_clip(".mkv", size=SIZE)
    reader, obstacle = open_reader(clip, Wanted())
    assert (reader.source.device, str(obstacle)) == ("cpu", "p010le of 192x128 is not NV12 of even size")
    reader.close()
    monkeypatch.setattr(fake_nvcodec.FakeNvdec, "is_hwaccel", False)
    reader, obstacle = open_reader(clip, Wanted())
    assert reader.source.device == "cpu"
    assert str(obstacle).startswith("the GPU cannot decode h264")
    reader.close()


def test_a_backend_without_device_frames_gets_host_frames(
    gpu: Gpu, make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = fake_nvcodec.install(monkeypatch, gpu.driver)
    monkeypatch.setattr("rtdeblur.backends.tensorrt.TensorRTBackend.takes_device_frames", False)
    clip = make_clip(".mkv", size=SIZE)
    way = restore(gpu, clip, tmp_path / "out.mkv")
    assert way.endswith("frames in host memory (required by tensorrt)")
    assert taken == ["cpu"] * 12  # the encoder copies them itself
    assert_brighter(tmp_path / "out.mkv", clip)


def test_the_first_frame_stays_on_the_gpu_too(
    gpu: Gpu, make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although it is decoded first, to learn the file's format, and examined in host memory."""
    fake_nvcodec.install(monkeypatch, gpu.driver)
    clip = make_clip(".mkv", size=SIZE)
    readers = [open_reader(clip, Wanted())[0] for _ in range(2)]
    writer = FileWriter(readers[0], tmp_path / "out.mkv")
    connect(readers[0], IdentityBackend(), writer, None)
    kept, copied = (list(reader) for reader in readers)
    assert {type(frame) for frame in kept} == {DeviceFrame}
    assert {type(frame) for frame in copied} == {Frame}
    assert [(f.pts, f.time_base, f.colour) for f in kept] == [(f.pts, f.time_base, f.colour) for f in copied]  # type: ignore[union-attr]
    assert [len(f.carrier.packets) for f in kept] == [len(f.carrier.packets) for f in copied]
    writer.close()
    for reader in readers:
        reader.close()


@pytest.mark.parametrize("keeps", [True, False])
def test_a_surface_of_the_decoder_is_free_once_its_frame_is_gone(
    gpu: Gpu, make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keeps: bool
) -> None:
    """NVDEC has only a few surfaces; a reader that kept one would take it from the decoder."""
    fake_nvcodec.install(monkeypatch, gpu.driver)
    reader, obstacle = open_reader(make_clip(".mkv", size=SIZE), Wanted())
    writer = FileWriter(reader, tmp_path / "out.mkv")
    assert obstacle is None
    if keeps:
        connect(reader, IdentityBackend(), writer, obstacle)
    for frame in reader:
        assert isinstance(frame, DeviceFrame) == keeps
        held = reachable([reader, writer], fake_nvcodec.CudaFrame)
        assert all(surface.pts > frame.pts for surface in held)
    assert reachable([reader, writer], fake_nvcodec.CudaFrame) == []
    writer.close()
    reader.close()


@pytest.mark.skipif(codecs.nvenc_opens(), reason="there is a GPU that encodes")
def test_a_missing_gpu_is_the_reported_reason(make_clip: MakeClip) -> None:
    reader, obstacle = open_reader(make_clip(".mkv", size=SIZE), Wanted())
    assert (reader.source.device, str(obstacle)) == ("cpu", "no GPU encoder available")
    reader.close()
