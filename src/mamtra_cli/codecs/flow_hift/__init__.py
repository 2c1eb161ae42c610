"""Flow matching from speech tokens to mel frames, and a vocoder from mel frames to samples."""
