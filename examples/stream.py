"""Restore a stream of frames as another program makes them.

    python examples/stream.py VIDEO OUTPUT

PyAV decodes and encodes here; frames may come from anywhere. One model is loaded for all of them.
"""

import sys

import av

from rtdeblur import Deblurrer

if len(sys.argv) != 3:
    sys.exit("usage: python examples/stream.py VIDEO OUTPUT")
source, output = sys.argv[1:]
with av.open(source) as reader, av.open(output, "w") as writer, Deblurrer() as deblurrer:
    video = reader.streams.video[0]
    track = writer.add_stream(
        "libx264", rate=video.average_rate, width=video.width, height=video.height, pix_fmt="yuv420p"
    )
    frames = (frame.to_ndarray(format="rgb24") for frame in reader.decode(video))
    count = 0
    for restored in deblurrer.stream(frames):
        writer.mux(track.encode(av.VideoFrame.from_ndarray(restored, "rgb24")))
        count += 1
    writer.mux(track.encode(None))
print(f"{output}: {count} frames")
