"""Every knob of `serve`, and what it returns."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from mamtra_cli.recipes.knob import Knob
from mamtra_cli.recipes.shared import Device, DType, Ray, Threads, Voices

_address = partial(Knob, panel="Address")
_room = partial(Knob, panel="Room")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class ServeRecipe:
    """Speak to many callers over HTTP."""

    model: Annotated[
        str, Knob("A folder, org/name[@revision], `mini` or `mini-mvc`.", "MODEL", positional=True)
    ] = "mini"
    host: Annotated[
        str, _address("Address to listen on; any but this machine's own needs a key.", "HOST")
    ] = "127.0.0.1"
    port: Annotated[int, _address("Port; 0 takes a free one.", "N", low=0, high=65_535)] = 8880
    key: Annotated[str, _address("Key that callers must show.", "KEY", env="MAMTRA_SERVE_KEY")] = ""
    allow_voices: Annotated[
        bool, _address("Let callers make voices of recordings, with consent.")
    ] = False
    rows: Annotated[int, _room("Utterances spoken together.", "N", low=1, high=1024)] = 16
    queue: Annotated[int, _room("Utterances that may wait beside them.", "N", low=0)] = 64
    memory_limit: Annotated[
        float,
        _room("Memory for utterances, beyond the model.", "GB", low=0, default="no limit"),
    ] = 0.0
    max_characters: Annotated[
        int, _room("Longest text of a request.", "N", low=1, high=1_000_000)
    ] = 20_000
    idle_unload: Annotated[
        float,
        _room(
            "Let the model go after this long without a caller.", "SECONDS", low=0, default="never"
        ),
    ] = 0.0
    patience: Annotated[
        float, _room("Time for speech under way when the server is stopped.", "SECONDS", low=0)
    ] = 30.0
    warmup: Annotated[bool, _room("Speak a word before the first caller comes.")] = False
    ray: Ray = ""
    replicas: Annotated[
        int,
        Knob(
            "Servers on Ray that each hold the model.",
            "N",
            "Jobs",
            low=0,
            default="one a GPU, or one for four cores",
        ),
    ] = 0
    voices: Voices = None
    device: Device = "auto"
    dtype: DType = "auto"
    threads: Threads = 0


@dataclass(frozen=True, kw_only=True)
class ServeStart:
    """Where callers may come to, told as soon as they may."""

    model: str
    address: str


@dataclass(frozen=True, kw_only=True)
class ServeResult:
    """What a server did until it was stopped."""

    model: str
    address: str
    seconds: float
