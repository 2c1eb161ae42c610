"""Word errors of a language model put into a whole teacher: how `auto:wer` judges a plan.

Built-in sentences are spoken with fixed seeds and heard by the offline recogniser, the same ones
for every plan, so plans differ in nothing else. A refused sentence counts as nothing heard.
"""

from functools import cache

from mamtra_cli.engine import seeds
from mamtra_cli.engine.decoding.loop import Utterance, decode
from mamtra_cli.engine.judging.metrics import score
from mamtra_cli.engine.judging.recognise import WordRecogniser
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.speech import speak_frames
from mamtra_cli.events import Advance, Report, Stage, ignore
from mamtra_cli.families.lessons import Lessons
from mamtra_cli.text.sentences import closed

GRAMMAR = 8000  # sentences that teach the recogniser the word order


@cache
def ears() -> WordRecogniser:
    """The recogniser of the built-in sentences, made once."""
    return WordRecogniser.from_texts(closed(0, GRAMMAR))


def word_errors(
    engine: Engine,
    lessons: Lessons,
    *,
    sentences: int,
    seed: int = 0,
    report: Report = ignore,
) -> float:
    """Word error rate, as a fraction, of a teacher that speaks with another language model.

    Args:
        engine: the teacher, with every part.
        lessons: what takes the place of its language model; the first voice speaks.
        sentences: how many are spoken.
        seed: of the draws.
        report: hears of the progress.
    """
    recogniser = ears()
    candidate = engine.with_lessons(lessons, engine.name)
    speaker = engine.voice()
    texts = closed(seeds.CHOICE, sentences)
    heard = [""] * len(texts)
    who = candidate.speaker
    utterances = [
        Utterance(script=who.begin(who.encode(text), speaker), seed=seed + i)
        for i, text in enumerate(texts)
    ]
    assert who.tokens is not None
    report(Stage(name="speaking", total=len(texts), unit="sentences"))
    for index, outcome in decode(who.tokens, utterances, candidate.sampling):
        if outcome.rejection is None:
            wave = speak_frames(candidate, outcome.frames, speaker).numpy()
            heard[index] = recogniser.transcribe(wave, candidate.sample_rate)
        report(Advance())
    return score(texts, heard).wer
