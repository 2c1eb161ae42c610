"""Where the seeds of built-in sentences and of draws lie, so that no two uses meet.

A run's seed is below 2**32 and usually small; what is added to it, or drawn apart from it, stands
here with its reason. Nothing here knows what is drawn.
"""

GRAMMAR = 0
"""Sentences that teach the recogniser the word order."""
TEST = 1_000
"""Sentences of `eval`; no training uses them."""
CHOICE = 3_000
"""Sentences that plans are heard on; no training, fit or final check uses them."""
LESSONS = 1 << 24
"""Added for sentences that a teacher speaks: those mini learned from lie below."""
CHECK = 1 << 16
"""Added for the sentences of the check that follows a conversion."""
SCORE = 1 << 17
"""Added for the sentences that plans are compared on."""

TURNS = 0x5EED
"""Keeps the draw of layouts apart from that of the order of a batch."""
ATTEMPTS_APART = 1_000_003
"""Between the attempts of one utterance."""
UPDATES_APART = 1_000_003
"""Between the updates in which a student reads its own speech."""
PIECES_APART = 10_000_019
"""Between the pieces of one take."""
ROUNDS_APART = 100_000
"""Between the times that every sentence of `eval` is spoken."""
