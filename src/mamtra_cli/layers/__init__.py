"""Torch modules with explicit state: a layer takes a state value and hands a new one back."""
