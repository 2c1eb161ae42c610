"""Parts from words and from SLURM: every piece of the work is in one."""

import pytest

from mamtra_cli.errors import UsageError
from mamtra_cli.part import Part, part_of


def slurm(**values: int) -> dict[str, str]:
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("text", "environment", "index", "count"),
    [
        ("", {}, 1, 1),
        ("2/8", {}, 2, 8),
        ("2/8", slurm(ID=0, COUNT=4, MIN=0), 2, 8),
        ("", slurm(ID=0, COUNT=4, MIN=0, STEP=1), 1, 4),
        ("", slurm(ID=4, COUNT=4, MIN=1, STEP=1), 4, 4),
        ("", slurm(ID=14, COUNT=3, MIN=10, STEP=2), 3, 3),
        ("", slurm(ID=3, COUNT=4), 4, 4),
    ],
    ids=["all", "given", "given wins", "from 0", "from 1", "stepped", "without MIN"],
)
def test_part_is_read(text: str, environment: dict[str, str], index: int, count: int) -> None:
    assert part_of(text, environment) == Part(index=index, count=count)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4"])
def test_a_part_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no part k/n"):
        part_of(text, {})


def test_a_slurm_array_with_gaps_is_refused() -> None:
    with pytest.raises(UsageError, match="no regular array"):
        part_of("", slurm(ID=9, COUNT=3, MIN=1, STEP=1))


def test_parts_are_about_equal() -> None:
    parts = [Part(index=k, count=4) for k in range(1, 5)]
    counts = [sum(part.takes(f"utt-{i}") for i in range(4000)) for part in parts]
    assert sum(counts) == 4000
    assert min(counts) > 850
