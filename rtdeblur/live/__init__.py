"""Live video: the newest frame is always next; late frames are dropped and counted."""
