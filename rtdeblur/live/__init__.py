"""Live pictures: the newest frame is always next; frames that come too late are dropped and counted."""
