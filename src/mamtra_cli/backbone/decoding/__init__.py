"""The stack arranged for single tokens: packed weights, caches and the fused step."""
