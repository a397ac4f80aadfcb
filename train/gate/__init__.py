"""Training and calibration of the blur gate, which copies tiles that need no restoration."""
