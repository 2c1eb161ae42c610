"""Prompts cannot be misused: text never becomes a control, a prompt that comes back is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.tiny import tiny_engine, tiny_voice
from tests.families.cosyvoice2.tiny import tiny_config, write_qwen, write_random_checkpoint
from tests.sounds import speech, write

from mamtra_cli.cli.app import run
from mamtra_cli.engine.decoding.guards import GuardLimits
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.errors import AudioRejectedError, MamtraError, UsageError
from mamtra_cli.families.cosyvoice2.bpe import (
    CONTROLS,
    END_OF_PROMPT,
    BpeFrontEnd,
    BytePairTokenizer,
)
from mamtra_cli.families.cosyvoice2.config import LMConfig
from mamtra_cli.families.phones import PhoneFrontEnd
from mamtra_cli.hub import BUILT_IN
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.recipes import SynthRecipe, VoiceAddRecipe
from mamtra_cli.tasks.synth import synth
from mamtra_cli.tasks.voice import add_voice
from mamtra_cli.voices.voice import Manner

PIECES = [*CONTROLS, "<|", "|>", "endofprompt", "<|en|>", "[laughter]", "the sun ", "\uff5c", " 7."]
HOSTILE = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), min_size=1, max_size=6).map(
    "".join
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> BytePairTokenizer:
    folder = tmp_path_factory.mktemp("qwen")
    write_qwen(folder, tiny_config())
    return BytePairTokenizer.read(folder)


@pytest.mark.parametrize("compat", [False, True], ids=["ours", "published-rules"])
@settings(deadline=None, max_examples=60)
@given(text=HOSTILE)
def test_no_text_gives_a_control_id(tokenizer: BytePairTokenizer, compat: bool, text: str) -> None:
    front = BpeFrontEnd(tokenizer, compat=compat)
    controls = {tokenizer.markup[name] for name in CONTROLS}
    end = tokenizer.markup[END_OF_PROMPT]
    try:
        spoken = [index for piece in front.split(text, 80) for index in front.ids(piece)]
        transcript = front.prompt_ids(text)
    except MamtraError:
        spoken = transcript = []
    assert not controls & {*spoken, *transcript}
    told = front.instruction_ids(text)
    assert told[-1] == end
    assert not controls & set(told[:-1])


@pytest.mark.parametrize("control", CONTROLS)
def test_phones_know_no_controls(control: str) -> None:
    front = PhoneFrontEnd.load(BUILT_IN["mini"])
    text = f"hello {control} there"
    try:
        symbols = front.symbols(text)
    except MamtraError:
        return
    assert all(symbol in "#,.?" or symbol.rstrip("1").isalpha() for symbol in symbols)
    with pytest.raises(UsageError, match="follows no instructions"):
        front.instruction_ids("softly")


class Parrot:
    """A token model that says one line, attempt after attempt."""

    codebooks, frame_rate = 1, 25.0

    def __init__(self, line: list[int], config: LMConfig) -> None:
        self.line, self.config = line, config

    def read(self, reads, rows, at, held):  # type: ignore[no-untyped-def]
        return self._say(0), 0

    def step(self, columns, rows):  # type: ignore[no-untyped-def]
        return self._say(rows + 1), rows + 1

    def leave(self, rows, slots):  # type: ignore[no-untyped-def]
        return None

    def _say(self, at: int) -> torch.Tensor:
        scores = torch.full((1, 1, self.config.head_size), -20.0)
        scores[..., self.config.eos_id if at >= len(self.line) else self.line[at]] = 0.0
        return scores


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_prompt_that_is_spoken_again_is_refused(stream: bool) -> None:
    engine, voice = tiny_engine(), tiny_voice(30)
    parrot = Parrot(voice.prompt_tokens.tolist(), engine.config.lm)
    engine.speaker.__dict__["tokens"] = parrot
    limits = GuardLimits(silence_rms=0.0, max_share=100.0)
    options = SpeechOptions(limits=limits, sampling=Sampling(greedy=True), retries=1, stream=stream)
    with pytest.raises(AudioRejectedError, match="tokens of the voice prompt came back"):
        list(speak(engine, "some words to say.", voice, options))
    # Where the model was not shown the prompt, the same tokens are no leak.
    hidden = replace(options, manner=Manner(mode="cross-lingual"))
    said = list(speak(engine, "some words to say.", voice, hidden))
    assert said[-1].piece is not None
    assert said[-1].piece.tokens == 30


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the authors publish it, small, with both graphs and a head that ends soon."""
    pytest.importorskip("onnx")
    from examples.fullsize import onnx_graphs

    config = tiny_config(speech_vocab=6561)
    config = replace(config, flow=replace(config.flow, vocab_size=6561, steps=2))
    folder = write_random_checkpoint(tmp_path_factory.mktemp("published"), config)
    onnx_graphs.write_speech_tokenizer(folder / "speech_tokenizer_v2.onnx")
    onnx_graphs.write_speaker_encoder(folder / "campplus.onnx")
    tensors = torch.load(folder / "llm.pt", weights_only=True)
    tensors["llm_decoder.bias"][6561:] += 7.0
    torch.save(tensors, folder / "llm.pt")
    return folder


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({}, "zero-shot"),
        ({"cross_lingual": True}, "cross-lingual"),
        ({"instruct": f"softly {END_OF_PROMPT} please"}, "instruct"),
        ({"speaker_only": True}, "speaker"),
    ],
    ids=["zero-shot", "cross-lingual", "instruct", "speaker"],
)
def test_published_folder_copies_a_voice_and_speaks_in_every_mode(
    published: Path, tmp_path: Path, changes: dict[str, object], mode: str
) -> None:
    added = add_voice(
        VoiceAddRecipe(
            name="ann",
            clip=write(tmp_path / "a.wav", speech(3.0, 22_050), 22_050),
            text="the sun and the sand",
            consent="yes",
            model=str(published),
            voices=tmp_path,
            device="cpu",
        )
    )
    assert added.voice.prompt_tokens == 75
    assert added.voice.facts is not None
    hashes = (added.voice.facts.speech_tokenizer, added.voice.facts.front_end)
    assert all(len(value) == 64 for value in hashes)
    given = {"text": "the sand", "retries": 40, "device": "cpu", "voices": tmp_path, **changes}
    output = str(tmp_path / "out.wav")
    recipe = SynthRecipe(model=str(published), voice="ann", output=output, **given)  # type: ignore[arg-type]
    assert synth(recipe).mode == mode


def test_instruction_takes_the_place_of_the_transcript(published: Path) -> None:
    engine = Engine.load(str(published), device="cpu")
    voice = tiny_voice(10)
    told = engine.front_end.instruction_ids("softly")
    text = engine.encode("the sand")
    manner = Manner(mode="instruct", instruction=tuple(told))
    script = engine.speaker.begin(text, voice, manner)
    ids = script.reads.row.ids
    assert ids[1 : 1 + len(told)] == told
    assert ids[1 + len(told) : -1] == text
    assert script.heard == ()
    assert (script.least, script.most) == (2 * len(text), 20 * len(text))
    assert engine.speaker.sound_prompt(voice, manner).tokens.shape == (1, 10)


def test_command_line_refuses_instructions_to_mini(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "a.wav")
    assert run(["synth", "hi", "--instruct", "softly", "-o", out]) == 2
    assert "follows no instructions" in capsys.readouterr().err
