"""How layers are exchanged where a config keeps their plan in its `lm`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any


class Exchange:
    """See `families.base.Conversion`; `config.lm` has fields `kinds` and `mixer`."""

    part = "lm"

    def with_mixers(self, config: Any, kinds: str, mixer: Mapping[str, Any]) -> Any:
        """The config with other layer kinds and mixer options."""
        return replace(config, lm=replace(config.lm, kinds=kinds, mixer=dict(mixer)))
