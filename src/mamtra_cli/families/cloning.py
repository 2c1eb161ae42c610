"""What any family writes down of a clip that becomes a voice. Knows no features and no tensors."""

from datetime import UTC, datetime
from pathlib import Path

from mamtra_cli import __version__
from mamtra_cli.errors import UsageError
from mamtra_cli.families.speaker import Loaded
from mamtra_cli.recipes.voice_facts import VoiceFacts
from mamtra_cli.voices.clip import Clip


def voice_facts(
    parts: Loaded, clip: Clip, *, transcript: str, consent: str, normalizer: str = ""
) -> VoiceFacts:
    """What a voice file says of itself; consent is dated today (UTC).

    Args:
        parts: of the model that the voice is made with.
        clip: it is made from.
        transcript: what the clip says.
        consent: whose, to what.
        normalizer: what the transcript went through on its way to ids; "" where there are none,
            and no front end is told then.
    """
    return VoiceFacts(
        family=parts.family.name,
        # A folder's name, without where it lies on this machine.
        model=Path(parts.name).name if Path(parts.name).is_dir() else parts.name,
        speech_tokenizer=parts.fingerprint("speech_tokenizer"),
        speaker_encoder=parts.fingerprint("speaker_encoder"),
        front_end=parts.fingerprint("front_end") if normalizer else "",
        normalizer=normalizer,
        transcript=transcript.strip(),
        consent=consent.strip(),
        consent_date=datetime.now(UTC).date().isoformat() if consent.strip() else "",
        mamtra=__version__,
        clip=clip.facts,
    )


def refuse_state(prefill: bool) -> None:
    """For a model whose voices keep no state.

    Raises:
        UsageError: one is to be kept.
    """
    if prefill:
        raise UsageError("this model keeps no state with a voice", "leave out `--prefill`")
