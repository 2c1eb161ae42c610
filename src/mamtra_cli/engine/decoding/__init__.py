"""The token loop and what watches over it."""
