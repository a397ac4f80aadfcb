"""FFmpeg through PyAV: containers, pixels, packets, damage, and output targets."""
