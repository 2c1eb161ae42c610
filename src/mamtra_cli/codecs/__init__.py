"""Codecs: from frames to sound, and from sound to frames where they can."""
