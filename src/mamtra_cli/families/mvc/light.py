"""The family as far as it needs no torch: its facts and texts, and a speaker over ONNX graphs.

The graphs of a folder are written by `mamtra export` (graphs.py); those of a flow and a vocoder
that are shared lie beside them in the other folder. See `families.light.LightFamily`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.backbone.decoding.stored_weights import StoredTable
from mamtra_cli.checkpoint import find_file, sha256_once
from mamtra_cli.codecs.flow_hift.light import ArrayPrompt, light_vocoder
from mamtra_cli.codecs.flow_hift.mu import LightMuWave, MuCodec
from mamtra_cli.families.base import Facts, Learned
from mamtra_cli.families.front_end import FrontEnd
from mamtra_cli.families.light import LightParts
from mamtra_cli.families.mvc.config import ConditionerConfig, MVCConfig
from mamtra_cli.families.mvc.manner import Steering
from mamtra_cli.families.mvc.texts import TextSpeaker, Told, wave_options
from mamtra_cli.families.mvc.windows import FrameFeatures
from mamtra_cli.families.phones import LETTERS, LEXICON, SYMBOLS, PhoneFrontEnd
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.voices.voice import Voice

Array = NDArray[np.float32]
PHONES, FRAMES = "conditioner_phones", "conditioner_frames"
FLOW_SPEAKER = "spk_embed_affine_layer"
FINGERPRINTS = {
    "front_end": (SYMBOLS, LEXICON, LETTERS),
    # A voice holds what both of them heard.
    "speaker_encoder": ("speaker_encoder.safetensors", "conditioner.safetensors"),
}


class LightMVC:
    """See `families.light.LightFamily`; `family.MVC` adds what needs torch."""

    name = "mvc"
    config_class = MVCConfig

    def graphs(self, config: MVCConfig) -> dict[str, str]:
        """Graphs of a folder, each with the part whose weights it names."""
        vocoder, both = config.vocoder_part, dict.fromkeys((PHONES, FRAMES), "conditioner")
        return {**both, "flow_estimator": "flow", vocoder: vocoder}

    def light_speaker(self, parts: LightParts) -> "LightSpeaker":
        """A model whose graphs are there, ready to speak."""
        return LightSpeaker(parts)

    def facts(self, config: MVCConfig) -> Facts:
        """Numbers of a model of this config."""
        return Facts(
            sample_rate=config.mel.sample_rate,
            frame_rate=config.conditioner.frame_rate,
            codebooks=0,
            codes=0,
            text_ids=config.conditioner.symbols,
            speaker_dim=config.voice_dim,
            learned=Learned(),
        )

    def measures(self, config: MVCConfig) -> None:
        """Nothing beside what every model has."""
        del config

    def fingerprint(self, folder: Path, config: MVCConfig, part: str) -> str:
        """SHA-256 of the files behind the front end, a voice, or a part."""
        del config
        files = FINGERPRINTS.get(part, (f"{part}.safetensors",))
        paths = [find_file(folder, name) for name in files]
        if not all(path.is_file() for path in paths):
            return ""
        return hashlib.sha256("".join(map(sha256_once, paths)).encode()).hexdigest()

    def front_end(self, folder: Path, config: MVCConfig) -> FrontEnd:
        """English by phones."""
        del config
        return PhoneFrontEnd.load(find_file(folder, SYMBOLS).parent)

    def sampling(self, config: Any) -> Sampling:
        """Nothing is drawn."""
        del config
        return Sampling()

    lesson_sampling = sampling


@dataclass(frozen=True, kw_only=True)
class ArrayCarry:
    """What the phone side hands to its next window: states by the names of its inputs."""

    states: Mapping[str, Array]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(state.nbytes for state in self.states.values())


class ArrayReader:
    """See `windows.Reader`; a style is the vector (1, E).

    Args:
        config: of the stack.
        phones, frames: sessions over its graphs.
    """

    def __init__(self, config: ConditionerConfig, phones: Any, frames: Any) -> None:
        self.config = config
        self.phones = _Stateful(phones)
        self.block = _Stateful(frames)

    def read(
        self, ids: Sequence[int], style: Array, carry: ArrayCarry | None, *, commit: int
    ) -> tuple[Array, Sequence[float], ArrayCarry]:
        """See `windows.Reader.read`."""
        fed = {"ids": np.array([ids]), "style": style, "commit": np.array([commit])}
        found, states = self.phones.run(fed, None if carry is None else carry.states)
        wished: list[float] = found["log_duration"][0, :commit].tolist()
        return found["features"][:, :commit], wished, ArrayCarry(states=states)

    def spread(self, features: Array, counts: Sequence[int]) -> Array:
        """See `windows.Reader.spread`: (1, F, D + 3), features and places."""
        length = np.array(counts)
        owner = np.repeat(np.arange(len(length)), length)
        done = np.arange(len(owner)) - (np.cumsum(length) - length)[owner]
        whole = length[owner]
        place = np.stack((done / whole, (whole - done) / whole, np.log2(whole) / 4), axis=-1)
        return np.concatenate((features[0, owner], place.astype(np.float32)), axis=-1)[None]

    def frames(
        self, x: Array, style: Array, states: tuple[Array, ...] | None, steering: Steering
    ) -> tuple[FrameFeatures, tuple[Array, ...]]:
        """See `windows.Reader.frames`."""
        higher = steering.pitch / 12 / self.config.pitch_deviation
        steer = np.array([higher, 0.0, steering.energy], np.float32)
        held = None if states is None else dict(zip(self.block.states, states, strict=True))
        found, after = self.block.run({"x": x, "style": style, "steer": steer}, held)
        pitch, voiced, energy = np.moveaxis(found["controls"], -1, 0)
        told = FrameFeatures(pitch=pitch, voiced=voiced, energy=energy, mu=found["mu"])
        return told, tuple(after.values())


class _Stateful:
    """A session whose states go in by a name and come out by the same with `.next`."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.outputs = [value.name for value in session.get_outputs()]
        self.inputs = {value.name: value.shape for value in session.get_inputs()}
        self.states = [name for name in self.inputs if f"{name}.next" in self.outputs]

    def run(
        self, fed: Mapping[str, Any], states: Mapping[str, Array] | None
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Outputs by their names, and the states after; zeros go before the first run."""
        if states is None:
            # A batch is one row, whatever an axis is called.
            sizes = {
                name: [size if isinstance(size, int) else 1 for size in self.inputs[name]]
                for name in self.states
            }
            states = {name: np.zeros(size, np.float32) for name, size in sizes.items()}
        # Without modulated norms there is no input for a style.
        known = {name: value for name, value in fed.items() if name in self.inputs}
        made = self.session.run(None, {**known, **states})
        found = dict(zip(self.outputs, made, strict=True))
        return found, {name: found.pop(f"{name}.next") for name in self.states}


class LightSpeaker(TextSpeaker):
    """See `families.speaker.Speaker`; without clips.

    Args:
        parts: of the model.
    """

    def __init__(self, parts: LightParts) -> None:
        super().__init__(parts)
        self.light = parts

    def ready(self) -> None:
        """Open the graphs now."""
        _ = self.reader, self.codec

    @cached_property
    def reader(self) -> ArrayReader:
        """The conditioning stack."""
        session = self.light.session
        return ArrayReader(self.config.conditioner, session(PHONES), session(FRAMES))

    @cached_property
    def codec(self) -> MuCodec:
        """Frames of mu to sound."""
        config, session, flow = self.config, self.light.session, self.light.weights("flow")
        road = LightMuWave(
            config.flow,
            {"flow_estimator": session("flow_estimator")},
            light_vocoder(config.hift, config.source_filter, session(config.vocoder_part)),
            wave_options(config, "cpu"),
            (
                StoredTable(flow, f"{FLOW_SPEAKER}.weight")[:],
                StoredTable(flow, f"{FLOW_SPEAKER}.bias")[:],
            ),
        )
        return MuCodec(
            road,
            sample_rate=config.mel.sample_rate,
            frame_rate=config.conditioner.frame_rate,
        )

    def style(self, voice: Voice) -> Array:
        """The conditioner's half of a voice."""
        vector = np.asarray(voice.embedding)[None, self.config.flow.speaker_dim :]
        return vector.astype(np.float32)

    def sound_prompt(self, voice: Voice, settings: Told | None = None) -> ArrayPrompt:
        """The flow's half of a voice."""
        del settings
        flow = self.config.flow
        speaker = np.asarray(voice.embedding)[None, : flow.speaker_dim]
        return ArrayPrompt(
            speaker=speaker.astype(np.float32),
            tokens=(),
            mel=np.zeros((1, 0, flow.mel_bins), np.float32),
        )


LIGHT = LightMVC()
