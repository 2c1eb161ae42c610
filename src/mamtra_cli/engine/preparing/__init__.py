"""Corpora and spoken texts as prepared data: rows, shards, statistics."""
