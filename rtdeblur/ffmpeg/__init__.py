"""FFmpeg through PyAV: containers, pixels, packets, damage, and the files written to."""
