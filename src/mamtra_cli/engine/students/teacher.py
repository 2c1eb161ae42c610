"""The teacher of a conversion: opened once, read once, given up when its memory is wanted.

Knows engines and folders; nothing of what is made from it.
"""

from mamtra_cli.engine.lessons.spoken import make_tokens
from mamtra_cli.engine.model import Engine
from mamtra_cli.events import Report, ignore
from mamtra_cli.families.folder import Model
from mamtra_cli.families.lessons import Example


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
        self._said: dict[tuple[int, int], list[Example]] = {}

    @property
    def engine(self) -> Engine:
        """The model with its weights, in float32."""
        if self._engine is None:
            name = str(self.model.folder)
            self._engine = Engine.of(self.model, name, device=self.device, dtype="float32")
        return self._engine

    def spoken(self, tokens: int, *, seed: int, report: Report = ignore) -> list[Example]:
        """What it says of its own accord, made once: see `lessons.spoken.make_tokens`."""
        if (tokens, seed) not in self._said:
            self._said[tokens, seed] = make_tokens(self.engine, tokens, seed=seed, report=report)
        return self._said[tokens, seed]

    def close(self) -> None:
        """Let its weights go, and what it said."""
        self._engine = None
        self._said.clear()
