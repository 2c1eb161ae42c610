"""Backbone: the hybrid stack, its plan, its weights from attention, its costs."""
