"""Make, list, show and remove voices."""

from mamtra_cli.engine.model import Engine
from mamtra_cli.errors import UsageError
from mamtra_cli.events import Note, Report, Stage, ignore
from mamtra_cli.families.registry import locate
from mamtra_cli.recipes import (
    VoiceAddRecipe,
    VoiceAddResult,
    VoiceListRecipe,
    VoiceListResult,
    VoiceRemoveRecipe,
    VoiceRemoveResult,
    VoiceShowRecipe,
    VoiceShowResult,
)
from mamtra_cli.text.encoding import read_text
from mamtra_cli.voices.clip import check_transcript, read_clip
from mamtra_cli.voices.library import (
    check_free,
    describe,
    entries,
    find_file,
    library_folder,
    remove,
    store,
)
from mamtra_cli.voices.voice import list_voices

LONGEST_CONSENT = 4_000  # characters


def add_voice(recipe: VoiceAddRecipe, report: Report = ignore) -> VoiceAddResult:
    """Make a voice from a clip and keep it.

    Raises:
        UsageError: there is no consent statement, or no clip, or the name is none.
        AudioError: the clip is no usable prompt.
        TextError: the transcript cannot be what the clip says.
        OutputError: there is a voice of that name.
    """
    if recipe.clip is None:
        raise UsageError("no clip", f"mamtra voice add {recipe.name or 'NAME'} clip.wav --text ...")
    consent = read_consent(recipe)
    library = library_folder(recipe.voices)
    path = check_free(library, recipe.name, force=recipe.force)
    replaced = path.exists()
    clip = read_clip(recipe.clip, recipe.limits)
    advice = clip.advice
    if recipe.text.strip():
        advice += check_transcript(recipe.text, clip.facts, recipe.limits)
    elif recipe.prefill:
        raise UsageError("`--prefill` needs a transcript", "add `--text`")
    else:
        advice += ("no transcript: this voice speaks in the cross-lingual mode only",)
    for line in advice:
        report(Note(text=line, warning=True))
    engine = Engine.load(
        recipe.model,
        device=recipe.device,
        dtype=recipe.dtype,
        threads=recipe.threads,
        report=report,
    )
    if recipe.name in engine.voices():
        raise UsageError(
            f"model `{engine.name}` has a voice `{recipe.name}` of its own", "choose another name"
        )
    report(Stage(name="copying", detail=recipe.name))
    voice = engine.speaker.clone(
        clip,
        recipe.name,
        transcript=recipe.text,
        consent=consent,
        prefill=recipe.prefill,
    )
    written = store(voice, library, force=recipe.force)
    return VoiceAddResult(voice=describe(written), replaced=replaced, advice=advice)


def read_consent(recipe: VoiceAddRecipe) -> str:
    """Return the consent statement of a recipe; there must be one."""
    if recipe.consent.strip() and recipe.consent_file is not None:
        raise UsageError("`--consent` and `--consent-file` are both given", "give one of them")
    text = recipe.consent
    if recipe.consent_file is not None:
        text = read_text(recipe.consent_file, foreign=UsageError)
    text = text.strip()
    if not text:
        raise UsageError(
            "no consent statement: a voice is copied only with its owner's agreement",
            'say who agreed to what: --consent "Ann Smith agreed on 2026-11-21 that I use her '
            'voice for ...", or --consent-file FILE',
        )
    if len(text) > LONGEST_CONSENT:
        raise UsageError(
            f"the consent statement has {len(text)} characters, at most {LONGEST_CONSENT} are kept",
            "sum it up, and keep the document yourself",
        )
    return text


def list_all(recipe: VoiceListRecipe, report: Report = ignore) -> VoiceListResult:
    """Name the user's voices, and a model's own where one is given."""
    library = library_folder(recipe.voices)
    good, bad = entries(library)
    own = (
        list_voices(locate(recipe.model, configs_only=True, report=report).folder)
        if recipe.model
        else []
    )
    return VoiceListResult(
        folder=str(library), voices=tuple(good), model_voices=tuple(own), damaged=tuple(bad)
    )


def show(recipe: VoiceShowRecipe, report: Report = ignore) -> VoiceShowResult:
    """Tell what is in a voice."""
    del report
    return VoiceShowResult(voice=describe(find_file(library_folder(recipe.voices), recipe.name)))


def remove_voice(recipe: VoiceRemoveRecipe, report: Report = ignore) -> VoiceRemoveResult:
    """Delete a voice of the user."""
    del report
    path = remove(library_folder(recipe.voices), recipe.name)
    return VoiceRemoveResult(name=recipe.name, path=str(path))
