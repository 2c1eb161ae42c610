"""Families: everything peculiar to one teacher."""
