"""What a family brings to speak without torch: ONNX graphs over a model folder's own weights.

Types only. A family that writes such graphs is `Exporting`; what reads them it has in a module
`light.py`, whose `LIGHT` is found by `registry.light_family`. A family without one speaks by its
modules alone.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mamtra_cli.families.base import Facts
from mamtra_cli.families.front_end import FrontEnd
from mamtra_cli.families.speaker import Loaded, Speaker
from mamtra_cli.ops.sampling import Sampling


class LightParts(Protocol):
    """What a speaker over graphs is made of; see `families.speaker.Loaded`."""

    @property
    def config(self) -> Any: ...

    @property
    def front_end(self) -> FrontEnd: ...

    def fingerprint(self, part: str) -> str:
        """SHA-256 of the files behind a part or the front end; "" where they are not there."""
        ...

    @property
    def modules(self) -> Any:
        """The same model as a speaker over torch, for what its graphs cannot tell."""
        ...

    def weights(self, part: str) -> Path:
        """The safetensors file of a part."""
        ...

    def session(self, graph: str) -> Any:
        """An ONNX Runtime session over a graph of the folder."""
        ...


@runtime_checkable
class Exporting(Protocol):
    """A family, with torch, whose models can be written as the graphs of its `LightFamily`."""

    def made_graphs(
        self, loaded: Loaded, folder: Path, quant: str = "none"
    ) -> Iterator[tuple[str, Any]]:
        """Each graph (`onnx.ModelProto`) by its name.

        Args:
            loaded: the parts of a model.
            folder: in our format, whose weights the graphs name.
            quant: bits of the step's matrices: none, int8 or int4.

        Raises:
            PlanError: a part has no graph.
        """
        ...


class LightFamily(Protocol):
    """The part of `families.base.Family` that needs no torch, and a speaker over graphs."""

    @property
    def name(self) -> str: ...

    @property
    def config_class(self) -> type[Any]: ...

    def graphs(self, config: Any) -> Mapping[str, str]:
        """Graphs that speaking needs, each with the part whose weights it names; none if one is not
        to be had."""
        ...

    def facts(self, config: Any) -> Facts:
        """Numbers of a model of this config."""
        ...

    def fingerprint(self, folder: Path, config: Any, part: str) -> str:
        """See `families.base.Family.fingerprint`."""
        ...

    def front_end(self, folder: Path, config: Any) -> FrontEnd:
        """The text front end of a model folder."""
        ...

    def light_speaker(self, parts: LightParts) -> Speaker:
        """A model whose graphs are there, ready to speak; where it draws tokens, they also tell
        `row_bytes(positions)` and `pass_bytes(positions)`: what a row holds, and a pass needs."""
        ...

    def measures(self, config: Any) -> Any:
        """What is needed by formulas: the part of `families.measures.Measures` without torch."""
        ...

    def sampling(self, config: Any) -> Sampling:
        """How the model's authors draw its tokens."""
        ...
