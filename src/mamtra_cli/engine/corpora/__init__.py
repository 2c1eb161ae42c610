"""Speech corpora as they are found, one file a kind."""
