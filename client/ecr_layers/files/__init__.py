"""Layers as archives, and the files of an image."""
