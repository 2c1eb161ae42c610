"""Parts of `benchmarks/experiments.py`: studies of rows that are converted, trained and heard."""
