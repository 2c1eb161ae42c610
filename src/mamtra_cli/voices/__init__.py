"""Voices: what a model is given of a speaker, as files and as values."""
