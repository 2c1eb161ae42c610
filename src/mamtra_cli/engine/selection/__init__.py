"""Which layers of a teacher stay attention, found by measuring it."""
