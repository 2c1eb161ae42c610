"""What should not leave this machine by accident: secrets, local paths, code in the guise of data.

Texts and JSON that are published lose the folders of this machine, and keep the last names. What
looks like a password or token is told by its shape. Knows texts and bytes, not what they belong to.
"""

import re
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

SECRETS = {
    "a token of the Hugging Face Hub": r"\bhf_[A-Za-z0-9]{16,}",
    "a token of GitHub": r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})",
    "an API key": r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{20,}",
    "a key of AWS": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a token of Slack": r"\bxox[abpros]-[\w-]{10,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a login in an address": r"\b[a-z][a-z0-9+.-]*://[^\s/:@]+:[^\s/@]+@",
    "a bearer token": r"\b[Bb]earer\s+[\w.~+/-]{12,}=*",
    "a password": r"(?i)(?:\b(?:api[_-]?key|secret|token|passw(?:or)?d)[\"']?\s*[=:]|"
    r"--(?:api-key|secret|token|password))[ \"']*(?=\S*\d)(?=\S*[a-z])[^\s\"',}]{8,}",
}
PATTERNS = {what: re.compile(pattern) for what, pattern in SECRETS.items()}
HIDDEN = "***"
ROOTS = (
    "home Users root tmp mnt media data var opt srv workspace workspaces content scratch etc "
    "private Volumes kaggle"
).split()
PICKLE = re.compile(rb"\x80[\x02-\x05]")
TEXT_PICKLE = re.compile(rb"(?:c[\w.]+\n[\w.]+\n|\(lp\d+\n|\(dp\d+\n)")


def find_secret(text: str) -> str | None:
    """What kind of secret a text seems to hold, if any."""
    return next((what for what, pattern in PATTERNS.items() if pattern.search(text)), None)


def redacted(text: str) -> str:
    """Return a text with stars in the place of what seems to be a secret."""
    for pattern in PATTERNS.values():
        text = pattern.sub(HIDDEN, text)
    return text


def without_paths(value: Any) -> Any:
    """Return JSON data in which each local path is its last name only; org/name stays."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    if isinstance(value, str):
        for kind in (PurePosixPath, PureWindowsPath):
            path = kind(value)
            if path.is_absolute() or path.parts[:1] in (("..",), ("~",)):
                return path.name
        return cut_paths(value)
    return value


def cut_paths(text: str) -> str:
    """Return a text in which each path into a folder of this machine is its last name only."""
    quoted, bare = _patterns()
    return bare.sub(_last, quoted.sub(lambda m: f"{m[1]}{_name(m[2])}{m[1]}", text))


def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    try:
        here = [path.name for path in Path("/").iterdir()]
    except OSError:
        here = []
    names = "|".join(re.escape(name) for name in sorted({*ROOTS, *here}))
    start = rf"(?:file:/{{1,3}}[^/\s]*/|/(?:{names})/|~[\w-]*/|\.\./|[A-Za-z]:\\|\\\\)"
    quoted = re.compile(rf"([\"'`])({start}[^\"'`\n]*)\1")
    bare = re.compile(rf"(?<![\w/:.~<\\]){start}[^\s`\"'<>|()\[\]{{}},;*]*")
    return quoted, bare


def _last(match: re.Match[str]) -> str:
    return _name(match[0])


def _name(path: str) -> str:
    return PureWindowsPath(path).name or PurePosixPath(path).name


def is_pickle(path: Path) -> bool:
    """Whether a file's content is a pickle, whatever its name: bare, or in an archive of torch."""
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"PK"):
        try:
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith(".pkl") for name in archive.namelist())
        except (zipfile.BadZipFile, OSError, ValueError):
            return False
    return bool(PICKLE.match(start) or TEXT_PICKLE.match(start))
