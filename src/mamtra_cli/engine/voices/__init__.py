"""Voices copied from a clip: checked, kept, and fitted to a model."""
