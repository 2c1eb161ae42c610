"""WebDataset tars: members that share a name up to the first dot are one sample.

Audio is the member with an audio suffix; text is `.txt` or `.lab`, or a text key of `.json` (as
Emilia has it). Tars are read from front to end and never unpacked to disk. Format:
https://github.com/webdataset/webdataset.
"""

import tarfile
from pathlib import Path
from typing import IO, cast

from mamtra_cli.config import parse_json
from mamtra_cli.engine.corpora.clip import SUFFIXES, Bad, Clip, Entries, Held, find_text
from mamtra_cli.part import Part

TEXTS = (".txt", ".lab", ".json")
LARGEST = 1 << 30  # bytes of a member that is read at all


def entries(root: Path, files: list[Path], *, part: Part, text_key: str = "") -> Entries:
    """Yield the samples of some tars, in order.

    Args:
        root: what names are relative to.
        files: the tars.
        part: only its samples are read.
        text_key: key of the JSON member; "" finds it by its usual names.
    """
    for path in files:
        name = path.relative_to(root).as_posix()
        last = "its start"
        try:
            with tarfile.open(path) as tar:
                key, members = "", dict[str, bytes]()
                for member in tar:
                    if not member.isfile():
                        continue
                    new, suffix = _split(member.name)
                    if new != key:
                        if members:
                            yield from _sample(key, members, name, text_key)
                        key, members = new, {}
                    last = member.name
                    if suffix not in (*SUFFIXES, *TEXTS) or not part.takes(key):
                        continue
                    if member.issparse() or member.size > LARGEST:
                        cause = f"`{member.name}` takes {member.size} bytes"
                        yield Bad(id=key, source=f"{name}:{last}", code="too_long", cause=cause)
                        continue
                    members[suffix] = cast("IO[bytes]", tar.extractfile(member)).read()
                if members:
                    yield from _sample(key, members, name, text_key)
        except (tarfile.TarError, OSError, EOFError) as error:
            cause = f"the tar cannot be read after {last}: {error}"
            yield Bad(id=f"{name}:{last}", source=name, code="unreadable", cause=cause)


def _split(name: str) -> tuple[str, str]:
    """Split a member's name into its key, up to the first dot, and its last suffix."""
    home, slash, base = name.rpartition("/")
    stem, _, rest = base.partition(".")
    return f"{home}{slash}{stem}", f".{rest.rpartition('.')[2]}".lower()


def _sample(key: str, members: dict[str, bytes], tar: str, text_key: str) -> Entries:
    source = f"{tar}:{key}"
    audio = next((data for suffix, data in members.items() if suffix in SUFFIXES), None)
    text: str | None = None
    try:
        for suffix in TEXTS if not text_key else (".json",):
            found = members.get(suffix)
            if found is None:
                continue
            if suffix == ".json":
                record = parse_json(found)
                text = find_text(record, text_key) if isinstance(record, dict) else None
            else:
                text = found.decode("utf-8").strip()
            if text is not None:
                break
    except ValueError as error:
        yield Bad(id=key, source=source, code="no_text", cause=f"the text cannot be read: {error}")
        return
    if audio is None:
        yield Bad(id=key, source=source, code="missing", cause="the sample has no audio member")
    elif text is None:
        cause = "the sample has no .txt, .lab, or .json with a text"
        yield Bad(id=key, source=source, code="no_text", cause=cause)
    else:
        yield Clip(id=key, text=text, source=source, audio=Held(audio))
