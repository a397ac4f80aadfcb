"""Photos in and out: samples, transparency, orientation, profiles, metadata; and unsupported files."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin

from rtdeblur.errors import InputError, OutputError, RtdeblurError, UsageError
from rtdeblur.frames import FrameBatch
from rtdeblur.media.photos import deep
from rtdeblur.media.photos.reader import PictureReader, register_heif
from rtdeblur.media.photos.writer import PictureWriter
from rtdeblur.pictures import KINDS, kind_of

WITH_HEIC = register_heif()
ENDINGS = [kind.endings[0] for kind in KINDS if WITH_HEIC or kind.name != "HEIF"]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/></x:xmpmeta>'


def rewrite(source: Path, output: Path, *, add: int = 0, overwrite: bool = False) -> list[str]:
    """Pass a file through reader and writer, lighter by `add` of 255; return its warnings."""
    with PictureReader(source) as reader, PictureWriter(reader, output, overwrite=overwrite) as writer:
        for frame in reader:
            batch = FrameBatch.stack([frame])
            step = add * (257 if batch.planes[0].dtype == np.uint16 else 1)
            y, u, v = (plane + plane.dtype.type(step) for plane in batch.planes)
            writer.write(replace(batch, planes=(y, u, v)))
        writer.commit()
    return [*reader.warnings, *writer.warnings]


def smooth(channels: int, dtype: str = "u1", size: tuple[int, int] = (40, 56)) -> NDArray[Any]:
    """Waves in every channel, another one in each, between 12 % and 82 % of the range; alpha has steps."""
    y, x = np.mgrid[: size[0], : size[1]]
    waves = [np.sin(x / (9 + c) + y / 13 + c) for c in range(channels)]
    picture = np.stack(waves, axis=-1) * 0.35 + 0.47
    if channels in (2, 4):
        picture[..., -1] = np.where(x > size[1] // 2, 1, 0.5)
    return (picture * np.iinfo(dtype).max).astype(dtype)


def save(path: Path, samples: NDArray[Any], **options: Any) -> Path:
    Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples).save(path, **options)
    return path


def exif(orientation: int = 1) -> bytes:
    tags = Image.Exif()
    tags[ExifTags.Base.Make], tags[ExifTags.Base.Orientation] = "Maker", orientation
    tags[ExifTags.IFD.Exif] = {ExifTags.Base.ExposureTime: 0.125, ExifTags.Base.LensModel: "50 mm"}
    tags[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N"}
    return tags.tobytes()


def facts(path: Path) -> dict[str, Any]:
    """Return the metadata of a file that viewers show."""
    with Image.open(path) as image:
        image.load()
        tags = image.getexif()
        profile = image.info.get("icc_profile")
        return {
            "make": tags.get(ExifTags.Base.Make),
            "orientation": tags.get(ExifTags.Base.Orientation, 1),
            "exposure": float(tags.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ExposureTime, 0)),
            "lens": tags.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.LensModel),
            "latitude": tags.get_ifd(ExifTags.IFD.GPSInfo).get(ExifTags.GPS.GPSLatitudeRef),
            "profile": profile,
        }


def shown(path: Path) -> NDArray[np.float64]:
    """The picture upright, as RGB in 0 to 255."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(float)


def psnr(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    assert a.shape == b.shape
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((a - b) ** 2))))


@pytest.mark.parametrize(
    ("ending", "channels"),
    [*itertools.product([".png", ".tif"], [1, 2, 3, 4]), (".bmp", 1), (".bmp", 3)],
)
def test_8_bit_samples_are_exact(tmp_path: Path, ending: str, channels: int) -> None:
    samples = smooth(channels)
    source, output = save(tmp_path / f"in{ending}", samples), tmp_path / f"out{ending}"
    with Image.open(source) as before:
        mode = before.mode
    for add in (0, 3):
        rewrite(source, output, add=add, overwrite=True)
        expected = samples.copy()
        colours = channels - (channels in (2, 4))
        expected[..., :colours] += add
        with Image.open(output) as image:
            assert image.mode == mode
            np.testing.assert_array_equal(np.asarray(image).reshape(samples.shape), expected)


def decoded(path: Path) -> NDArray[Any]:
    """Samples as the `ffmpeg` library decodes them."""
    import av

    codec = av.CodecContext.create("png" if path.suffix == ".png" else "tiff", "r")
    frame = [*codec.decode(av.Packet(path.read_bytes())), *codec.decode(None)][0]
    dtype = ">u2" if frame.format.name.endswith("be") else "<u2"
    rows = np.frombuffer(memoryview(frame.planes[0]), dtype).reshape(frame.height, -1)
    channels = len(frame.format.components)
    return rows[:, : frame.width * channels].reshape(frame.height, frame.width, channels).astype(np.uint16)


def deep_source(path: Path, samples: NDArray[Any]) -> Path:
    """A PNG or TIFF of 16 bits that other code wrote."""
    import av

    name = ("gray16", "ya16", "rgb48", "rgba64")[samples.shape[2] - 1]
    name += "be" if path.suffix == ".png" else "le"
    height, width, channels = samples.shape
    frame = av.VideoFrame(width, height, name)
    dtype = ">u2" if name.endswith("be") else "<u2"
    rows = np.frombuffer(memoryview(frame.planes[0]), dtype).reshape(height, -1)
    rows[:, : width * channels] = samples.reshape(height, -1)
    codec = av.CodecContext.create("png" if path.suffix == ".png" else "tiff", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = width, height, name, 1
    path.write_bytes(b"".join(map(bytes, [*codec.encode(frame), *codec.encode(None)])))
    return path


@pytest.mark.parametrize(
    ("before", "after", "channels"),
    [
        (".png", ".png", 1), (".png", ".png", 2), (".png", ".png", 3), (".png", ".png", 4),
        (".png", ".tif", 1), (".png", ".tif", 3), (".png", ".tif", 4), (".tif", ".tif", 1),
        (".tif", ".tif", 3), (".tif", ".tif", 4), (".tif", ".png", 3), (".tif", ".png", 4),
    ],
)  # fmt: skip
def test_16_bit_samples_are_exact(tmp_path: Path, before: str, after: str, channels: int) -> None:
    samples = smooth(channels, "u2")
    assert len(np.unique(samples & 255)) > 200  # 8 bits would show
    source, output = deep_source(tmp_path / f"in{before}", samples), tmp_path / f"out{after}"
    for add in (0, 2):
        assert rewrite(source, output, add=add, overwrite=True) == []
        expected = samples.copy()
        colours = channels - (channels in (2, 4))
        expected[..., :colours] += 257 * add
        np.testing.assert_array_equal(decoded(output), expected)
        with Image.open(output) as image:
            image.load()  # another program reads it too
            assert image.size == (56, 40)


@pytest.mark.parametrize("layout", ["rows", "big-endian", "deflate", "predictor", "lzw"])
def test_16_bit_tiffs_of_other_programs_are_read(tmp_path: Path, layout: str) -> None:
    tifffile = pytest.importorskip("tifffile")
    samples, path = smooth(3, "u2"), tmp_path / "in.tif"
    if layout == "lzw":
        pytest.importorskip("cv2").imwrite(str(path), samples[..., ::-1])
    else:
        options = {
            "rows": {"rowsperstrip": 7},
            "big-endian": {"byteorder": ">"},
            "deflate": {"compression": "zlib", "rowsperstrip": 9},
            "predictor": {"compression": "zlib", "predictor": True},
        }[layout]
        tifffile.imwrite(path, samples, photometric="rgb", **options)
    rewrite(path, tmp_path / "out.png")
    np.testing.assert_array_equal(decoded(tmp_path / "out.png"), samples)


def test_a_layout_that_would_be_misread_is_refused(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    samples = smooth(3, "u2")
    planes = {"data": samples.transpose(2, 0, 1), "planarconfig": "separate"}
    for options in ({"tile": (16, 16)}, {"bigtiff": True}, planes):
        tifffile.imwrite(tmp_path / "in.tif", **{"data": samples, "photometric": "rgb", **options})
        with pytest.raises(InputError, match=r"cannot read picture .*in\.tif"):
            rewrite(tmp_path / "in.tif", tmp_path / "out.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["in.tif"]


def test_16_bits_become_8_with_a_warning(tmp_path: Path) -> None:
    source = deep_source(tmp_path / "in.png", smooth(3, "u2"))
    (warning,) = rewrite(source, tmp_path / "out.jpg")
    assert "16 bits per sample become 8: JPEG supports no more" in warning
    assert psnr(shown(tmp_path / "out.jpg"), smooth(3, "u2") / 257) > 45


def test_10_bit_heic_keeps_its_depth(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    samples = smooth(3, "u2")
    pillow_heif.from_bytes("RGB;16", (56, 40), samples.tobytes()).save(tmp_path / "in.heic", quality=-1)
    rewrite(tmp_path / "in.heic", tmp_path / "out.heic")
    rewrite(tmp_path / "in.heic", tmp_path / "out.png")
    again = np.asarray(pillow_heif.open_heif(tmp_path / "out.heic", convert_hdr_to_8bit=False))
    assert len(np.unique(again)) > 500  # 8 bits have 256
    assert len(np.unique(decoded(tmp_path / "out.png"))) > 500


@pytest.mark.parametrize(("before", "after"), list(itertools.product(ENDINGS, ENDINGS)))
def test_every_format_converts_to_every_other_upright(tmp_path: Path, before: str, after: str) -> None:
    source, output = tmp_path / f"in{before}", tmp_path / f"out{after}"
    options: dict[str, Any] = {"exif": exif(6)} if kind_of(source).exif else {}  # type: ignore[union-attr]
    save(source, smooth(3), quality=95, **options)
    rewrite(source, output)
    with Image.open(output) as image:
        assert image.format == kind_of(output).name  # type: ignore[union-attr]
    least = 28 if ".gif" in (before, after) else 33  # of 256 colours; of lossy encoders, twice
    assert psnr(shown(source), shown(output)) > least


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_kept(tmp_path: Path, orientation: int) -> None:
    source = save(tmp_path / "in.png", smooth(3), exif=exif(orientation))
    for ending in (".png", ".tif", ".bmp"):
        output = tmp_path / f"out{ending}"
        rewrite(source, output, overwrite=True)
        np.testing.assert_array_equal(shown(output), shown(source))
        assert facts(output)["orientation"] == (orientation if ending == ".png" else 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_every_orientation_of_a_tiff_is_kept(tmp_path: Path, orientation: int, dtype: str) -> None:
    source = tmp_path / "in.tif"
    with source.open("wb") as file:
        deep.write_tiff(file, smooth(3, dtype), exif=exif(orientation))
    for ending in (".tif", ".png"):
        rewrite(source, tmp_path / f"out{ending}")
        np.testing.assert_array_equal(shown(tmp_path / f"out{ending}"), shown(source))
        assert facts(tmp_path / f"out{ending}")["make"] == "Maker"
    if dtype == "u2":
        np.testing.assert_array_equal(decoded(tmp_path / "out.tif"), decoded(tmp_path / "out.png"))
        assert len(np.unique(decoded(tmp_path / "out.tif") & 255)) > 200


EXIF = [ending for ending in ENDINGS if kind_of(Path(f"x{ending}")).exif]  # type: ignore[union-attr]


@pytest.mark.parametrize(("before", "after"), list(itertools.product(EXIF, EXIF)))
def test_exif_and_profile_are_kept(tmp_path: Path, before: str, after: str) -> None:
    source, output = tmp_path / f"in{before}", tmp_path / f"out{after}"
    save(source, smooth(3), exif=exif(), icc_profile=PROFILE)
    expected = facts(source)
    assert (expected["make"], expected["exposure"], expected["lens"]) == ("Maker", 0.125, "50 mm")
    assert rewrite(source, output) == []
    assert facts(output) == expected


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("before", [".png", ".tif", ".jpg"])
def test_exif_and_profile_are_kept_in_16_bits(tmp_path: Path, before: str, ending: str) -> None:
    """A picture of 16 bits, with what Pillow wrote for one of 8."""
    small, source = save(tmp_path / f"small{before}", smooth(3), exif=exif(), icc_profile=PROFILE), None
    with (
        PictureReader(small) as reader,
        PictureWriter(reader, tmp_path / f"new{ending}") as w,
    ):
        words, chunks = w._words(), w._png_metadata()
    source = tmp_path / f"in{ending}"
    if ending == ".png":
        source.write_bytes(deep.encode_png(smooth(3, "u2"), chunks))
    else:
        with source.open("wb") as file:
            deep.write_tiff(file, smooth(3, "u2"), **words)
    for output in (tmp_path / "out.png", tmp_path / "out.tif"):
        assert rewrite(source, output) == []
        np.testing.assert_array_equal(decoded(output), smooth(3, "u2"))
        assert facts(output) == facts(small)


@pytest.mark.parametrize("after", [".jpg", ".png", ".tif", ".webp", ".avif"])
@pytest.mark.parametrize("before", [".jpg", ".png", ".tif", ".webp", ".avif"])
def test_xmp_is_kept(tmp_path: Path, before: str, after: str) -> None:
    options: dict[str, Any] = {"xmp": XMP}
    if before == ".png":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", XMP.decode())
        options = {"pnginfo": chunks}
    elif before == ".tif":
        options = {"tiffinfo": {700: XMP}}
    source, output = save(tmp_path / f"in{before}", smooth(3), **options), tmp_path / f"out{after}"
    rewrite(source, output)
    with PictureReader(output) as reader:
        assert reader.metadata.xmp == XMP


def test_png_metadata_is_kept_byte_for_byte(tmp_path: Path) -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Title", "A wave")
    chunks.add_itxt("Comment", "naïve", zip=True)
    for kind, data in ((b"gAMA", (45455).to_bytes(4, "big")), (b"cICP", bytes((9, 16, 0, 1)))):
        chunks.add(kind, data)
    source = save(tmp_path / "in.png", smooth(3), pnginfo=chunks, dpi=(300, 300))
    rewrite(source, tmp_path / "out.png")
    for path in (source, tmp_path / "out.png"):
        with Image.open(path) as image:
            image.load()
            assert image.info["Title"] == "A wave"
            assert image.info["Comment"] == "naïve"
            assert image.info["gamma"] == 0.45455
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert b"cICP" in (tmp_path / "out.png").read_bytes()


def test_a_jpeg_keeps_its_quality_and_sampling(tmp_path: Path) -> None:
    for quality, sampling in ((60, 2), (90, 0)):
        source = save(tmp_path / "in.jpg", smooth(3), quality=quality, subsampling=sampling, progressive=True)
        rewrite(source, tmp_path / "out.jpg", overwrite=True)
        with Image.open(source) as before, Image.open(tmp_path / "out.jpg") as after:
            assert after.quantization == before.quantization  # type: ignore[attr-defined]
            assert after.layer == before.layer  # type: ignore[attr-defined]
            assert "progressive" in after.info
        assert (tmp_path / "out.jpg").stat().st_size < 1.1 * source.stat().st_size


def test_a_lossless_webp_stays_lossless(tmp_path: Path) -> None:
    source = save(tmp_path / "in.webp", smooth(4), lossless=True, exact=True)
    rewrite(source, tmp_path / "out.webp")
    with Image.open(tmp_path / "out.webp") as image:
        np.testing.assert_array_equal(np.asarray(image), smooth(4))


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
def test_a_tiff_stays_raw_or_compressed(tmp_path: Path, compression: str) -> None:
    source = save(tmp_path / "in.tif", smooth(3), compression=compression)
    rewrite(source, tmp_path / "out.tif")
    with Image.open(tmp_path / "out.tif") as image:
        assert (image.info["compression"] == "raw") == (compression == "raw")
        np.testing.assert_array_equal(np.asarray(image), smooth(3))


@pytest.mark.parametrize("ending", [".png", ".webp", ".avif", ".tif", *([".heic"] if WITH_HEIC else [])])
def test_transparency_is_kept(tmp_path: Path, ending: str) -> None:
    source = save(tmp_path / "in.png", smooth(4))
    rewrite(source, tmp_path / f"out{ending}")
    with Image.open(tmp_path / f"out{ending}") as image:
        alpha = np.asarray(image.convert("RGBA"))[..., 3].astype(int)
    assert np.abs(alpha - smooth(4)[..., 3]).mean() < 2  # AVIF and HEIC are lossy


def test_transparency_that_cannot_be_kept_is_placed_on_white(tmp_path: Path) -> None:
    samples = smooth(4)
    samples[..., 3] = 0
    (warning,) = rewrite(save(tmp_path / "in.png", samples), tmp_path / "out.jpg")
    assert "the transparency is not kept" in warning
    assert shown(tmp_path / "out.jpg").min() > 250


def test_a_warning_names_what_the_output_cannot_store(tmp_path: Path) -> None:
    source = save(tmp_path / "in.jpg", smooth(3), exif=exif(), icc_profile=PROFILE)
    warnings = rewrite(source, tmp_path / "out.bmp")
    assert [w.partition("the ")[2].partition(" is")[0] for w in warnings] == ["EXIF data", "colour profile"]


@pytest.mark.parametrize("mode", ["1", "P", "PA"])
def test_palettes_and_bilevel_pictures_become_samples(tmp_path: Path, mode: str) -> None:
    rgb = Image.fromarray(smooth(3))
    image = rgb.convert("1") if mode == "1" else rgb.quantize(32)
    options = {"transparency": 3} if mode == "PA" else {}
    image.save(tmp_path / "in.png", **options)
    rewrite(tmp_path / "in.png", tmp_path / "out.png")
    np.testing.assert_array_equal(shown(tmp_path / "out.png"), shown(tmp_path / "in.png"))
    with Image.open(tmp_path / "out.png") as result:
        assert result.mode == {"1": "L", "P": "RGB", "PA": "RGBA"}[mode]


def test_the_content_determines_the_format(tmp_path: Path) -> None:
    source = save(tmp_path / "in.jpg", smooth(3), format="PNG")
    rewrite(source, tmp_path / "out.png")
    np.testing.assert_array_equal(shown(tmp_path / "out.png"), smooth(3))


def test_the_first_of_several_pages_is_restored_with_a_warning(tmp_path: Path) -> None:
    pages = [Image.fromarray(smooth(3)), Image.fromarray(smooth(3)[::-1])]
    pages[0].save(tmp_path / "in.tif", save_all=True, append_images=pages[1:])
    (warning,) = rewrite(tmp_path / "in.tif", tmp_path / "out.tif")
    assert "only the first page" in warning
    np.testing.assert_array_equal(shown(tmp_path / "out.tif"), smooth(3))


# Not a picture, or not a supported one.


def cmyk(path: Path) -> None:
    Image.fromarray(smooth(3)).convert("CMYK").save(path, "JPEG")


def floating(path: Path) -> None:
    Image.fromarray(smooth(1)[..., 0].astype(np.float32)).save(path, "TIFF")


def lab(path: Path) -> None:
    transform = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    result = ImageCms.applyTransform(Image.fromarray(smooth(3)), transform)
    assert result is not None
    result.save(path, "TIFF")


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("in.jpg", cmyk, "expected grey or RGB; convert it first, e.g. magick /"),
        ("in.tif", floating, "type 'F', expected 8 or 16 bits; convert it first"),
        ("in.tif", lab, "CIELAB"),
        ("in.png", lambda path: path.write_bytes(b""), "is empty"),
        ("in.png", lambda path: path.write_bytes(b"no picture" * 99), "unknown format, or damaged"),
        ("in.png", lambda path: path.mkdir(), "not a file"),
        ("in.png", lambda path: None, "does not exist"),
    ],
)
def test_an_unsupported_picture_is_a_one_line_error(
    tmp_path: Path, name: str, make: Callable[[Path], object], says: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(InputError) as caught:
        rewrite(tmp_path / name, tmp_path / "out.png")
    assert says in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("share", [0.02, 0.2, 0.6, 0.95])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_cut_short_is_refused_whatever_its_format(tmp_path: Path, ending: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    whole = save(tmp_path / f"whole{ending}", noise, quality=90).read_bytes()
    (tmp_path / f"in{ending}").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(RtdeblurError) as caught:
        rewrite(tmp_path / f"in{ending}", tmp_path / "out.png")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("ending", [*ENDINGS, " of 16 bits.png", " of 16 bits.tif"])
def test_damaged_bytes_raise_only_input_errors(tmp_path: Path, ending: str) -> None:
    source = tmp_path / f"whole{ending}"
    if "16" in ending:
        deep_source(source, smooth(3, "u2"))
    else:
        save(source, smooth(3), exif=exif()) if kind_of(source).exif else save(source, smooth(3))  # type: ignore[union-attr]
    whole, rng = source.read_bytes(), np.random.default_rng(1)
    for count in range(40):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), rng.integers(1, 6)):
            data[place] = rng.integers(0, 256)
        (tmp_path / "in.png").write_bytes(data)
        with suppress(RtdeblurError):
            rewrite(tmp_path / "in.png", tmp_path / f"out{ENDINGS[count % len(ENDINGS)]}", overwrite=True)


def test_large_pictures_are_refused_before_they_are_read(tmp_path: Path) -> None:
    source = save(tmp_path / "in.png", smooth(3))
    with pytest.raises(InputError, match=r"has 56×40 pixels, more than 2000.*--max-pixels"):
        PictureReader(source, max_pixels=2000)
    bomb = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(bomb, "PNG")
    (tmp_path / "bomb.png").write_bytes(bomb.getvalue())
    with pytest.raises(InputError, match="more pixels than"):
        PictureReader(tmp_path / "bomb.png")


def test_an_output_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    source = save(tmp_path / "in.png", smooth(3))
    with PictureReader(source) as reader, PictureWriter(reader, tmp_path / "out.png") as writer:
        writer.write(FrameBatch.stack(list(reader)))
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]
    rewrite(source, tmp_path / "out.png")
    with pytest.raises(UsageError, match=r"already exists; overwrite it, or try another name"):
        rewrite(source, tmp_path / "out.png")
    with pytest.raises(UsageError, match="is the input itself"):
        rewrite(source, source)
    with pytest.raises(UsageError, match=r"ends in '\.mp4', which is not a picture"):
        rewrite(source, tmp_path / "out.mp4")
    with pytest.raises(OutputError):
        rewrite(source, tmp_path / "nowhere" / "out.png")


def test_a_picture_too_large_for_its_format_is_refused(tmp_path: Path) -> None:
    source = save(tmp_path / "in.png", np.zeros((4, 17000, 3), np.uint8))
    with pytest.raises(OutputError, match=r"cannot write .*out\.webp"):
        rewrite(source, tmp_path / "out.webp")
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]
