"""How to speak, whoever asks: the options of an utterance."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mamtra_cli.codecs.base import SoundOptions
from mamtra_cli.engine.decoding.guards import GuardLimits
from mamtra_cli.engine.speaking.pieces import Listen
from mamtra_cli.errors import UsageError
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.voices.voice import Manner

if TYPE_CHECKING:
    from mamtra_cli.engine.loading.talker import Talker
    from mamtra_cli.recipes.synth import SynthRecipe


@dataclass(frozen=True, kw_only=True)
class SpeechOptions:
    """How to speak.

    Attributes:
        sampling: how tokens are chosen; `None` for the model's own way.
        seed: of everything random.
        speed: 2 speaks twice as fast.
        retries: new attempts for a piece that a guard refused.
        silence: seconds between pieces.
        max_seconds: longest piece; `None` for what its text allows.
        steps: of the flow's solver; `None` for the model's.
        volume: factor on the samples.
        stream: hand sound out while the language model writes.
        mute: make no sound; only frames are wanted.
        limits: what the guards tolerate.
        manner: what of the voice the model is shown; `None` for the richest that both know.
        carry: show the language model, beside the voice, the piece before the one it says. Pieces
            of one utterance then follow each other, whoever else speaks.
        listen: hears every piece that is whole; one that it does not understand is tried again, and
            the best attempt kept. Nothing that is streamed is heard.
    """

    sampling: Sampling | None = None
    seed: int = 0
    speed: float = 1.0
    retries: int = 2
    silence: float = 0.2
    max_seconds: float | None = None
    steps: int | None = None
    volume: float = 1.0
    stream: bool = False
    mute: bool = False
    limits: GuardLimits = field(default_factory=GuardLimits)
    manner: Manner | None = None
    carry: bool = False
    listen: Listen | None = None

    def sound(self, attempt: int = 0) -> SoundOptions:
        """How the frames of an attempt become sound."""
        return SoundOptions(seed=self.seed + attempt, speed=self.speed, steps=self.steps)


def options_of(engine: "Talker", recipe: "SynthRecipe") -> SpeechOptions:
    """What a recipe says of it, of one text or of many; `manner` and `listen` are left out.

    Raises:
        UsageError: the model draws no tokens that could be chosen as asked, or a word is unknown.
    """
    return SpeechOptions(
        sampling=_sampling(engine, recipe),
        seed=recipe.seed,
        speed=recipe.speed,
        retries=recipe.retries,
        silence=recipe.sentence_silence,
        max_seconds=recipe.max_seconds,
        steps=recipe.steps,
        volume=recipe.volume,
        stream=recipe.stream,
        limits=_limits(recipe),
        carry=recipe.carry,
    )


def _sampling(engine: "Talker", recipe: "SynthRecipe") -> Sampling:
    names = ("temperature", "top_p", "top_k", "min_p", "greedy")
    asked = {name: getattr(recipe, name) for name in names}
    given = [name.replace("_", "-") for name, value in asked.items() if value]
    if given and engine.speaker.tokens is None:
        raise UsageError(f"`--{given[0]}`: this model draws no tokens", "leave it out")
    return engine.sampling_with(**asked)


def _limits(recipe: "SynthRecipe") -> GuardLimits:
    if recipe.on_runaway not in ("refuse", "keep"):
        raise UsageError(f"`--on-runaway {recipe.on_runaway}` is unknown", "it is refuse or keep")
    if recipe.on_runaway == "keep":
        return GuardLimits(cut_seconds=math.inf)
    # A length that was asked for is no sign that a text is short.
    return GuardLimits() if recipe.max_seconds is None else GuardLimits(cut_seconds=0)
