"""Training of the temporal stage, which fuses restored frames with their neighbours."""
