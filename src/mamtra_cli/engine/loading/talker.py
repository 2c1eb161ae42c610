"""What speaking needs of an engine, whatever it computes with; types only, no torch."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mamtra_cli.families.base import Facts
    from mamtra_cli.families.front_end import FrontEnd
    from mamtra_cli.families.speaker import Speaker
    from mamtra_cli.ops.sampling import Sampling
    from mamtra_cli.voices.voice import Voice


class Talker(Protocol):
    """One model, ready to speak: `model.Engine`, or `light.LightEngine` without torch."""

    @property
    def name(self) -> str: ...

    @property
    def itemsize(self) -> int:
        """Bytes of a number that its steps read."""
        ...

    @property
    def device(self) -> Any: ...

    @property
    def threads(self) -> int:
        """Of the CPU, that one computation takes."""
        ...

    @property
    def facts(self) -> "Facts": ...

    @property
    def sample_rate(self) -> int: ...

    @property
    def sampling(self) -> "Sampling": ...

    @property
    def speaker(self) -> "Speaker": ...

    @property
    def front_end(self) -> "FrontEnd": ...

    def voices(self) -> list[str]:
        """Names of the model's voices."""
        ...

    def sampling_with(self, **changes: Any) -> "Sampling":
        """The model's sampling with what is not `None` changed."""
        ...

    def voice(self, name: str = "", library: "Path | None" = None) -> "Voice":
        """A voice of the model or of the user's library, "" for the first."""
        ...

    def saying(self, phones: "Mapping[str, tuple[str, ...]]") -> AbstractContextManager[None]:
        """Say words by given phones for a while."""
        ...

    def held_bytes(self, frames: int, prompt: float) -> tuple[int, int]:
        """Bytes by formulas: of one utterance at its end, and of what is needed once for all.

        Args:
            frames: of the utterance.
            prompt: seconds of the voice prompt before it.
        """
        ...

    def free_bytes(self) -> int | None:
        """Memory that more could be put into now; `None` where the system does not say."""
        ...

    def silence(self, seconds: float) -> Any:
        """Samples (S,) of nothing, as the model makes its sound."""
        ...
