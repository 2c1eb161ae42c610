"""Time, memory and bytes, as they were measured."""
