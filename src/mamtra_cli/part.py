"""Which part of the work one of several jobs does: `k/n`, or that of a SLURM array task."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mamtra_cli.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Part:
    """The k-th of n equal parts of a corpus; entries fall to parts by the hash of their id."""

    index: int = 1
    count: int = 1

    def takes(self, id: str) -> bool:
        """Whether an entry is in this part, whatever else the corpus holds."""
        if self.count == 1:
            return True
        digest = hashlib.sha256(id.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8]) % self.count == self.index - 1


def part_of(text: str, environment: Mapping[str, str] = os.environ) -> Part:
    """Read `k/n`; where it is "", SLURM's array task, else everything.

    Raises:
        UsageError: it is no k/n with 1 <= k <= n, or the array has gaps.
    """
    if text:
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        index, count = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= index <= count:
            raise UsageError(
                f"`--shard {text}` is no part k/n with k from 1 to n", "of four: 1/4, 2/4, 3/4, 4/4"
            )
        return Part(index=index, count=count)
    names = ("ID", "COUNT", "MIN", "STEP")
    given = [environment.get(f"SLURM_ARRAY_TASK_{name}", "") for name in names]
    if not given[0].isdecimal() or not given[1].isdecimal():
        return Part()
    id, count = int(given[0]), int(given[1])
    least = int(given[2]) if given[2].isdecimal() else 0
    step = int(given[3]) if given[3].isdecimal() and int(given[3]) else 1
    index, rest = divmod(id - least, step)
    if rest or not 0 <= index < count:
        raise UsageError(
            f"SLURM task {id} of {count} from {least} is no regular array",
            "use `--array=1-N`, or give `--shard k/n`",
        )
    return Part(index=index + 1, count=count)
