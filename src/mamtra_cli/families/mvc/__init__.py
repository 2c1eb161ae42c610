"""The family `mvc`: a conditioning stack of state-space models alone, on the flow and vocoder."""
