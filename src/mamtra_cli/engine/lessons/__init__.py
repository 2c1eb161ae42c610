"""What a student learns from: examples, their layouts, and how far it agrees already."""
