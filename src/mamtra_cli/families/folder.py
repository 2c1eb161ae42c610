"""A model folder as its family reads it, and parts built to be filled.

Nothing is loaded before it is asked for. Knows families by their types only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.checkpoint import ModelFolder, sha256
from mamtra_cli.errors import CheckpointError, PlanError
from mamtra_cli.families.base import Conversion, Facts, Family, FrontEnd, Upstream
from mamtra_cli.tensors import TensorSource, load_module

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
    def facts(self) -> Facts:
        """Its numbers."""
        return self.family.facts(self.config)

    @property
    def conversion(self) -> Conversion:
        """How its layers are exchanged.

        Raises:
            PlanError: it has none to exchange.
        """
        found = self.family.conversion(self.config)
        if found is None:
            raise PlanError(
                f"`{self.folder.name}` is a {self.family.name} model, which has no layers to "
                "exchange",
                "convert a model that speaks token by token",
            )
        return found

    @property
    def stack(self) -> HybridConfig:
        """Sizes of the layers that may be exchanged.

        Raises:
            PlanError: it has none.
        """
        _ = self.conversion
        found = self.facts.stack
        assert found is not None
        return found

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts that are there, foreign ones last."""
        own = tuple(self.source.parts)
        foreign = self.family.foreign_parts(self.folder)
        return (*own, *(part for part in foreign if part not in own))

    def front_end(self) -> FrontEnd:
        """Open the text front end."""
        for name in self.family.text_files:
            if (self.folder / name).is_file():
                self.check_hash(self.folder / name)
        return self.family.front_end(self.folder, self.config)

    def open(self, part: str) -> TensorSource:
        """Open the tensors of a part, which are read one at a time."""
        if isinstance(self.source, Upstream):
            return self.family.open_published(part, self.source.parts[part])
        return self.source.part(part)

    def tensors(self, part: str) -> dict[str, Tensor]:
        """All tensors of a part under our names, in the stored type where published."""
        return dict(self.open(part).stream(dtype=None if self.published else torch.float32))

    def load(self, part: str, dtype: torch.dtype | None = torch.float32) -> nn.Module:
        """Build a part and load its weights, strictly, for inference.

        Args:
            part: its name.
            dtype: type of its floating tensors; `None` keeps the stored one. A foreign part
                computes in its own.
        """
        if part not in self.parts:
            raise CheckpointError(f"model `{self.folder.name}` has no `{part}`")
        if part not in self.source.parts:
            path = self.family.foreign_parts(self.folder)[part]
            self.check_hash(path)
            return self.family.load_foreign(part, path)
        # Tensors made in inference mode stay unfit for training, and parts are kept for later.
        with torch.inference_mode(False):
            module = build_empty(self.family, self.config, part)
            load_module(module, self.open(part), dtype, self.family.gathered)
        return module.eval()

    def check_hash(self, path: Path) -> None:
        """Fail where a file of a converted folder is not the one that was written with it."""
        if not isinstance(self.source, ModelFolder):
            return
        known = self.source.provenance.get("sha256", {})
        name = path.relative_to(self.folder).as_posix()
        if name in known and sha256(path) != known[name]:
            raise CheckpointError(
                f"`{name}` of `{self.folder.name}` is not the file that this model was made with "
                f"(SHA-256 {known[name][:12]}...)",
                "copy it from the teacher again, or convert again",
            )


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
    """Build a part whose weights hold nothing yet; `load_module` fills them all."""
    with _NoDraws():
        return family.build_part(config, part)
