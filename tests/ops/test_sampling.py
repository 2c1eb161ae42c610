"""Options of sampling: impossible ones are refused by name."""

import pytest

from mamtra_cli.errors import UsageError
from mamtra_cli.ops.sampling import Sampling


@pytest.mark.parametrize(
    "field",
    [{"temperature": -1.0}, {"top_p": 1.5}, {"top_k": -1}, {"min_p": 2.0}, {"ras_window": -1}],
    ids=lambda field: next(iter(field)),
)
def test_impossible_option_names_itself(field: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(field))):
        Sampling(**field)  # type: ignore[arg-type]
