"""Links of the pages that lead out of `docs/`, as the site has them: to the repository.

A hook of mkdocs (`mkdocs.yml`). A link to a file that is not there breaks the build.
"""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OUTSIDE = re.compile(r"\]\(((?:\.\./)+)([^)#]*)(#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn links out of the folder into links to the repository."""
    del files
    here = (ROOT / "docs" / page.file.src_uri).parent

    def link(match: re.Match[str]) -> str:
        target = (here / match[1] / match[2]).resolve()
        if target.is_relative_to(ROOT / "docs"):
            return match[0]
        if not target.exists():
            raise FileNotFoundError(f"{page.file.src_uri} links to {match[2]}, which is not there")
        name = target.relative_to(ROOT).as_posix()
        return f"]({config['repo_url']}/blob/main/{name}{match[3] or ''})"

    return OUTSIDE.sub(link, markdown)
