"""The teacher of a conversion: opened once, read once, given up when its memory is wanted.

Knows engines and folders; nothing of what is made from it.
"""

from mamtra_cli.engine.model import Engine
from mamtra_cli.families.folder import Model


class Teacher:
    """An opened model whose weights are read when they are first asked for.

    Args:
        model: its folder.
        device: where its weights go.
    """

    def __init__(self, model: Model, device: str) -> None:
        self.model = model
        self.device = device
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The model with its weights, in float32."""
        if self._engine is None:
            name = str(self.model.folder)
            self._engine = Engine.of(self.model, name, device=self.device, dtype="float32")
        return self._engine

    def close(self) -> None:
        """Let its weights go."""
        self._engine = None
