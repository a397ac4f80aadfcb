"""Generators, critics and the layers they are made of."""
