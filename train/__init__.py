"""PyTorch trainer: networks, losses, data, training, evaluation, export. Not part of the wheel."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # of ONNX Runtime, as in rtdeblur.backends
