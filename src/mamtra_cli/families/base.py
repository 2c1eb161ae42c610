"""What a family states, what it must bring, and a model folder as its family reads it.

A family is one object `FAMILY` (see `registry.py`). Nothing here knows any family; the engine
above and the tasks know families only through these types.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.checkpoint import ModelFolder
from mamtra_cli.errors import CheckpointError
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.tensors import check_shapes, load_module

DRAWS = {  # a mode sees outermost calls only, so the functions of `init` are named too
    Tensor.normal_,
    Tensor.uniform_,
    nn.init.normal_,
    nn.init.uniform_,
    nn.init.trunc_normal_,
    nn.init.kaiming_uniform_,
    nn.init.kaiming_normal_,
    nn.init.xavier_uniform_,
    nn.init.xavier_normal_,
}


class FrontEnd(Protocol):
    """Text to the ids a language model reads."""

    def split(self, text: str, max_ids: int) -> list[str]:
        """Speakable pieces of a text, normalised, each of at most `max_ids` ids.

        Raises:
            TextError: there is nothing to speak, or something that cannot be.
        """
        ...

    def ids(self, text: str) -> list[int]:
        """Ids of one piece. Nothing in the text can act as a control."""
        ...

    def prompt_ids(self, text: str) -> list[int]:
        """Ids of what the recording of a voice says."""
        ...


@dataclass(frozen=True, kw_only=True)
class AttentionSite:
    """One attention layer that may be replaced, by the names of its tensors.

    Attributes:
        layer: index in the stack.
        prefix: of everything in the layer, with a final dot.
        q, k, v, o: stems of the projections (`.weight`, and `.bias` where there is one).
        mixer: stem of whatever takes its place.
    """

    layer: int
    prefix: str
    q: str
    k: str
    v: str
    o: str
    mixer: str


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """A folder as the authors of a model publish it.

    Attributes:
        config: the family's config, read from the published files.
        parts: published file of each part.
        companions: other files that a converted model needs, by the name they have there.
    """

    config: Any
    parts: Mapping[str, Path]
    companions: Mapping[str, Path] = field(default_factory=dict)


class Family(Protocol):
    """Everything peculiar to one kind of model.

    Attributes:
        name: what `config.json` calls it.
        config_class: frozen dataclass of every size.
        lm_part: the part whose layers are exchanged.
    """

    @property
    def name(self) -> str: ...

    @property
    def config_class(self) -> type[Any]: ...

    @property
    def lm_part(self) -> str: ...

    def part_names(self, config: Any) -> tuple[str, ...]:
        """Parts that a model of this config has."""
        ...

    def build_part(self, config: Any, part: str) -> nn.Module:
        """Make one part with new weights, on the current default device."""
        ...

    def upstream(self, folder: Path, *, configs_only: bool = False) -> Upstream | None:
        """What a published folder holds, or `None` where it is none of this family.

        With `configs_only` the weights may be missing: a dry run has not fetched them.
        """
        ...

    def to_ours(self, part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published tensors of a part under our names."""
        ...

    def to_published(self, part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `to_ours`."""
        ...

    def read_published(self, path: Path) -> dict[str, Tensor]:
        """Tensors of a published file, under their published names."""
        ...

    def hybrid(self, config: Any) -> HybridConfig:
        """The stack inside the language model."""
        ...

    def with_mixers(self, config: Any, kinds: str, mixer: Mapping[str, Any]) -> Any:
        """The config with other layer kinds and mixer options."""
        ...

    def attention_sites(self, config: Any) -> tuple[AttentionSite, ...]:
        """The attention layers, in order."""
        ...

    def front_end(self, folder: Path, config: Any) -> FrontEnd:
        """The text front end of a model folder, own or published."""
        ...

    def sampling(self, config: Any) -> Sampling:
        """How the model's authors draw its tokens."""
        ...


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model folder and the family that reads it; nothing is loaded yet.

    Attributes:
        source: the folder in our format, or what the family found in a published one.
    """

    family: Family
    folder: Path
    config: Any
    source: ModelFolder | Upstream

    @property
    def published(self) -> bool:
        """Whether the folder is in its authors' format."""
        return isinstance(self.source, Upstream)

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts that are there."""
        return tuple(self.source.parts)

    def front_end(self) -> FrontEnd:
        """Open the text front end."""
        return self.family.front_end(self.folder, self.config)

    def tensors(self, part: str) -> dict[str, Tensor]:
        """All tensors of a part under our names, in the stored type where published."""
        if isinstance(self.source, Upstream):
            published = self.family.read_published(self.source.parts[part])
            return self.family.to_ours(part, published)
        return dict(self.source.part(part).stream())

    def load(self, part: str, dtype: torch.dtype | None = torch.float32) -> nn.Module:
        """Build a part and load its weights, strictly, for inference.

        Args:
            part: its name.
            dtype: type of its floating tensors; `None` keeps the stored one.
        """
        if part not in self.parts:
            raise CheckpointError(f"model `{self.folder.name}` has no `{part}`")
        # Tensors made in inference mode stay unfit for training, and parts are kept for later.
        with torch.inference_mode(False):
            module = build_empty(self.family, self.config, part)
            if isinstance(self.source, Upstream):
                fill(module, self.tensors(part), self.source.parts[part].name, dtype)
            else:
                load_module(module, self.source.part(part), dtype)
        return module.eval()


class _NoDraws(TorchFunctionMode):
    """Leaves new weights unset: no time is spent on drawing what a file will overwrite.

    Building on `meta` would do so too, but loses computed buffers, and its first random fill
    imports 800 modules.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Any = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def build_empty(family: Family, config: Any, part: str) -> nn.Module:
    """Build a part whose weights hold nothing yet; `fill` them all."""
    with _NoDraws():
        return family.build_part(config, part)


def fill(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    where: str,
    dtype: torch.dtype | None = torch.float32,
) -> None:
    """Put tensors into a module; names and shapes must agree. `where` names their file."""
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    check_shapes(expected, {name: tuple(value.shape) for name, value in tensors.items()}, where)
    cast = {
        name: value if dtype is None or not value.is_floating_point() else value.to(dtype)
        for name, value in tensors.items()
    }
    module.load_state_dict(cast, assign=True)
