"""PyTorch trainer: networks, losses, data, training, evaluation, export. Not part of the wheel."""
