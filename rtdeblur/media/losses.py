"""Report of what an encoding loses of the pictures of a source."""

from __future__ import annotations

from av.codec.codec import PixFmtLoss
from av.sidedata.sidedata import Type

from rtdeblur.media.encoder import Encoding
from rtdeblur.media.encoder_traits import CAPTIONS, traits_of
from rtdeblur.media.source import PictureInfo, SourceInfo

# Metadata that changes with the scene; no encoder accepts it through PyAV.
_DYNAMIC_HDR = (Type.DOVI_METADATA, Type.DYNAMIC_HDR_PLUS)
_LOSS_NAMES = {
    PixFmtLoss.DEPTH: "the bit depth",
    PixFmtLoss.RESOLUTION: "the chroma resolution",
    PixFmtLoss.CHROMA: "the chroma",
    PixFmtLoss.ALPHA: "the transparency",
}


def losses(encoding: Encoding, source: SourceInfo, format_name: str) -> list[str]:
    """Return one line per property of the pictures that an encoding cannot keep in a container."""
    pix_fmt, picture, codec = source.info.pix_fmt, source.picture, encoding.codec
    traits = traits_of(codec)
    lost = _lost_hdr(codec, picture)
    for loss, what in _LOSS_NAMES.items():
        if encoding.lost & loss:
            keeper = "prores" if loss == PixFmtLoss.ALPHA and format_name == "mov" else "ffv1 in .mkv"
            lost.append(
                f"{what} of {pix_fmt} is not kept: {codec} encodes {encoding.pix_fmt}; {keeper} keeps it"
            )
    if picture.format.is_rgb and encoding.colour.matrix != "rgb":
        what = f"the colours of {pix_fmt} are encoded as {encoding.pix_fmt}, rounded to code values"
        lost.append(f"{what}; ffv1 in .mkv keeps them")
    elif (
        not encoding.lost
        and encoding.pix_fmt != picture.format.name
        and picture.width % 2 + picture.height % 2
    ):
        size = f"{picture.width}x{picture.height}"
        lost.append(f"{size} is encoded as {encoding.pix_fmt}: {codec} cannot halve odd sizes")
    if traits.is_jpeg and not picture.format.is_rgb and encoding.colour != picture.colour:
        was, becomes = picture.colour.name, encoding.colour.name
        lost.append(f"the colour, {was}, is converted to {becomes}, the only one of {codec}")
    if encoding.size not in (None, (picture.width, picture.height)):
        sizes = f"{picture.width}x{picture.height} is scaled to {encoding.size[0]}x{encoding.size[1]}"
        lost.append(f"{sizes}: {codec} supports no other size; .mkv keeps it")
    if CAPTIONS not in encoding.options and Type.A53_CC in picture.side_data:
        lost.append(f"closed captions are not kept by {codec}; libx264 and libx265 keep them")
    if picture.is_interlaced and not traits.writes_fields:
        lost.append(f"the field order is not kept by {codec}; libx264 keeps it")
    return lost + _lost_aspect_ratio(encoding, source, format_name)


def _lost_aspect_ratio(encoding: Encoding, source: SourceInfo, format_name: str) -> list[str]:
    codec, aspect_ratio = encoding.codec, source.video.sample_aspect_ratio or 1
    if aspect_ratio == 1 or encoding.size is not None:
        return []
    if not traits_of(codec).writes_aspect_ratio:
        return [
            f"{codec} stores the aspect ratio only in the frames; libx264 also stores it in the container"
        ]
    if encoding.keeps_aspect_ratio:
        return []
    return [
        f"the aspect ratio {aspect_ratio} is not kept: {codec} in {format_name} cannot store it; "
        "libx264 in .mkv can"
    ]


def _lost_hdr(codec: str, picture: PictureInfo) -> list[str]:
    """Return one line about the HDR metadata of a picture that an encoder cannot write."""
    static = [] if traits_of(codec).hdr else [Type.MASTERING_DISPLAY_METADATA, Type.CONTENT_LIGHT_LEVEL]
    names = {
        kind.name.replace("_", " ").lower() for kind in (*static, *_DYNAMIC_HDR) if kind in picture.side_data
    }
    return [f"HDR metadata is not kept by {codec}: {', '.join(sorted(names))}"] if names else []
