"""Students: made from a teacher, held beside it, written as model folders."""
