"""Memory of this machine, as the system tells it."""

import re
from pathlib import Path


def free_host_bytes() -> int | None:
    """Memory that more could be put into now; `None` where the system does not say."""
    try:
        told = Path("/proc/meminfo").read_text("utf-8")
    except OSError:
        return None
    found = re.search(r"MemAvailable:\s+(\d+) kB", told)
    return None if found is None else int(found[1]) * 1024
