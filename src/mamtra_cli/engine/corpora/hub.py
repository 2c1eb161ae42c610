"""Datasets on the Hugging Face Hub: their Parquet files (or tars) in the local cache."""

from fnmatch import fnmatch
from pathlib import Path

from mamtra_cli.errors import DataError, ModelNotFoundError
from mamtra_cli.events import Report, ignore
from mamtra_cli.hub import HUB_NAME, download
from mamtra_cli.hub_client import client, hub_errors
from mamtra_cli.hub_guard import leads_out, patience

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
    if revision is not None and leads_out(revision):
        raise DataError(f"`{revision}` is no name of a commit, branch or tag")
    hub = client()
    try:
        with hub_errors(repo, revision), patience(report, "the hub"):
            files = hub.HfApi().list_repo_files(repo, revision=revision, repo_type="dataset")
        wanted = choose(files, pattern)
        if not wanted:
            what = f"that match `{pattern}`" if pattern else f"({', '.join(ENDS)})"
            raise DataError(f"dataset `{repo}` has no files {what}")
        asked = {"repo_type": "dataset", "allow_patterns": wanted}
        return download(repo, revision, asked, report)
    except ModelNotFoundError as error:
        raise DataError(
            f"there is no corpus `{name}`, neither here nor on the hub", error.hint
        ) from error


def choose(files: list[str], pattern: str) -> list[str]:
    """Return the files to fetch."""
    if pattern:
        return [file for file in files if fnmatch(file, pattern)]
    for end in ENDS:
        found = [file for file in files if file.endswith(end)]
        if found:
            return found
    return []
