"""Zonos-v0.1: both published language models, their conditions, speaker encoder and codes."""
