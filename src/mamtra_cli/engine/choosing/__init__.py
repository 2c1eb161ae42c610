"""Which layers stay attention, decided by measuring."""
