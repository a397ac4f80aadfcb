"""Serialized TensorRT engines: what names one, where it is kept, how it is built."""
