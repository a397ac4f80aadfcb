"""The PyTorch trainer: networks, losses, data, fit, evaluate, export. Not part of the wheel."""
