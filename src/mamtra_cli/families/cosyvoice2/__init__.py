"""CosyVoice 2: language model, flow and vocoder; the published sizes and `mini`."""
