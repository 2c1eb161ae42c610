"""Turn a Transformer text-to-speech model into a Mamba/Transformer hybrid, and speak with it."""

__version__ = "0.1.0"
