"""A small codec for small models: residual codes of mels, and a source-filter vocoder."""
