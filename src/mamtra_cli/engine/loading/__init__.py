"""A model opened: its parts, with torch or without, and its graphs written for the latter."""
