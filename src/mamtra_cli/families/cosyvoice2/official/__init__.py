"""The official program's own loops over flow and vocoder, for comparisons."""
