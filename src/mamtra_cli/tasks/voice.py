"""Make, list, show and remove voices."""

from mamtra_cli.audio import AudioWriter, check_output
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.errors import UsageError
from mamtra_cli.events import Note, Report, Stage, ignore
from mamtra_cli.families.registry import locate
from mamtra_cli.publish import output_errors
from mamtra_cli.recipes.voice import (
    VoiceAddRecipe,
    VoiceAddResult,
    VoiceListRecipe,
    VoiceListResult,
    VoiceRemoveRecipe,
    VoiceRemoveResult,
    VoiceShowRecipe,
    VoiceShowResult,
)
from mamtra_cli.sink import speech_tags
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
from mamtra_cli.voices.speaker_table import all_names

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
    """Name the user's voices, and a model's own where one is given; let these speak if asked.

    Raises:
        UsageError: samples are asked for, and no model is named.
        OutputError: a sample exists or cannot be written.
    """
    if recipe.samples is not None and not recipe.model:
        raise UsageError("samples are spoken by a model", "name it: `-m mini`")
    library = library_folder(recipe.voices)
    good, bad = entries(library)
    own = (
        all_names(locate(recipe.model, configs_only=True, report=report).folder)
        if recipe.model
        else []
    )
    return VoiceListResult(
        folder=str(library),
        voices=tuple(good),
        model_voices=tuple(own),
        samples=tuple(speak_samples(recipe, own, report)),
        damaged=tuple(bad),
    )


def speak_samples(recipe: VoiceListRecipe, names: list[str], report: Report) -> list[str]:
    """Let voices of a model say a sentence each; returns the files."""
    if recipe.samples is None:
        return []
    with output_errors(recipe.samples):
        recipe.samples.mkdir(parents=True, exist_ok=True)
    paths = [recipe.samples / f"{name}.wav" for name in names]
    for path in paths:
        check_output(path, force=recipe.force)
    engine = Engine.load(
        recipe.model, device=recipe.device, threads=recipe.threads, lean=True, report=report
    )
    for name, path in zip(names, paths, strict=True):
        with AudioWriter(
            path,
            sample_rate=engine.sample_rate,
            tags=speech_tags(engine.name, name, SpeechOptions.seed),
            force=recipe.force,
        ) as writer:
            for chunk in speak(engine, recipe.say, engine.voice(name), report=report):
                writer.write(chunk.audio.numpy())
    return [str(path) for path in paths]


def show(recipe: VoiceShowRecipe, report: Report = ignore) -> VoiceShowResult:
    """Tell what is in a voice."""
    del report
    return VoiceShowResult(voice=describe(find_file(library_folder(recipe.voices), recipe.name)))


def remove_voice(recipe: VoiceRemoveRecipe, report: Report = ignore) -> VoiceRemoveResult:
    """Delete a voice of the user."""
    del report
    path = remove(library_folder(recipe.voices), recipe.name)
    return VoiceRemoveResult(name=recipe.name, path=str(path))
