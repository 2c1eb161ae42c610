"""Where this program keeps what is the user's: a cache that may be emptied, and data.

Environment variables come first, else the folders that the user's system has for it. Nothing is
made here. Importing costs nothing: `synth` asks before anything heavy is loaded.
"""

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """A folder of the cache: under `MAMTRA_CACHE`, else in the user's cache folder."""
    given = os.environ.get("MAMTRA_CACHE")
    if given:
        return Path(given) / name
    from platformdirs import user_cache_path

    return user_cache_path("mamtra", appauthor=False) / name


def data_folder(name: str) -> Path:
    """A folder of data: under `MAMTRA_HOME`, else in the user's data folder."""
    given = os.environ.get("MAMTRA_HOME")
    if given:
        return Path(given) / name
    from platformdirs import user_data_path

    return user_data_path("mamtra", appauthor=False) / name
