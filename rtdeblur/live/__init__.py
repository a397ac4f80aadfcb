"""Live pictures: the newest frame is always next, and what is too late is dropped and counted."""
