"""Datasets on the Hugging Face Hub: their Parquet files (or tars) in the local cache."""

import os
from fnmatch import fnmatch
from pathlib import Path

from mamtra_cli.errors import DataError, ModelNotFoundError
from mamtra_cli.events import Report, Stage, ignore
from mamtra_cli.hub import HUB_NAME, client, hub_errors

ENDS = (".parquet", ".tar", ".jsonl", ".jsonl.gz")  # the first kind that is there is fetched


def fetch(name: str, pattern: str = "", report: Report = ignore) -> Path | None:
    """Fetch the files of `org/name[@revision]`; `None` where the name is no such thing.

    Args:
        name: of the dataset.
        pattern: which files to fetch, as `data/train-*`; "" is all of the first known kind.
        report: hears of the download.

    Raises:
        DataError: there is no such dataset, or no file of a known kind in it.
        HubError: the hub refused or was out of reach.
    """
    match = HUB_NAME.fullmatch(name)
    if match is None or name.startswith(("./", "../", "~")):
        return None
    repo, revision = match[1], match[2]
    hub = client()
    try:
        with hub_errors(repo, revision):
            files = hub.HfApi().list_repo_files(repo, revision=revision, repo_type="dataset")
            wanted = choose(files, pattern)
            if not wanted:
                what = f"that match `{pattern}`" if pattern else f"({', '.join(ENDS)})"
                raise DataError(f"dataset `{repo}` has no files {what}")
            report(Stage(name="fetching", detail=f"{len(wanted)} files of {repo}"))
            folder = hub.snapshot_download(
                repo,
                revision=revision,
                repo_type="dataset",
                cache_dir=os.environ.get("MAMTRA_CACHE"),
                allow_patterns=wanted,
            )
    except ModelNotFoundError as error:
        raise DataError(
            f"there is no corpus `{name}`, neither here nor on the hub", error.hint
        ) from error
    return Path(folder)


def choose(files: list[str], pattern: str) -> list[str]:
    """Return the files to fetch."""
    if pattern:
        return [file for file in files if fnmatch(file, pattern)]
    for end in ENDS:
        found = [file for file in files if file.endswith(end)]
        if found:
            return found
    return []
