"""What a training run needs around its loop: saves, processes, stages, curves."""
