"""The smallest family: three codebooks, letters for text, no voices, sound by a table of tones."""
