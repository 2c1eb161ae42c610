"""Engine: runs and trains any model."""
