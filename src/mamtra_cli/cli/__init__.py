"""Command line: parse, call one task, print the result."""
