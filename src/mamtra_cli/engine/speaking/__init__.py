"""From a text and a voice to chunks of sound."""
