"""What a model's speech is worth: who listens, what is counted, how it is reported."""
