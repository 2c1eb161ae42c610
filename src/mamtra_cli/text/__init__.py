"""Reading: from a text as written to the words and phones that are spoken."""
