"""Judges whose weights come inside ordinary packages, or from a folder that the user names.

A judge must be named exactly, so what is found comes with the version of its package and the
SHA-256 of its weights. Packages are located, not imported: most of them import far more than their
weights need. Knows files, not models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from mamtra_cli.checkpoint import sha256
from mamtra_cli.errors import MissingDependencyError, ModelNotFoundError


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the weights of a judge usually are.

    Attributes:
        judge: its name for people.
        distribution: package on the Python index.
        module: what the package is imported as.
        inside: folder of the weights in it.
        install: command that brings it.
    """

    judge: str
    distribution: str
    module: str
    inside: str = "."
    install: str


def package_folder(source: Source) -> tuple[Path, dict[str, str]]:
    """The folder of an installed package, and its version by name.

    Raises:
        MissingDependencyError: it is not installed.
    """
    spec = find_spec(source.module)
    try:
        found = version(source.distribution)
    except PackageNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            f"{source.judge} needs the package {source.distribution}", source.install
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / source.inside
    return folder, {source.distribution: found}


def find_weights(
    source: Source, names: Sequence[str], folder: str = ""
) -> tuple[list[Path], dict[str, str]]:
    """Files of a judge, from its package or from a folder, and what identifies them.

    Args:
        source: where they usually are.
        names: of the files, weights first.
        folder: of the user's, in place of the package; "" for the package.

    Raises:
        MissingDependencyError: the package is not installed.
        ModelNotFoundError: a file is not there.
    """
    about: dict[str, str] = {}
    place = Path(folder).expanduser()
    if not folder:
        place, about = package_folder(source)
    paths = [place / name for name in names]
    for path in paths:
        if not path.is_file():
            raise ModelNotFoundError(
                f"{source.judge} has no file `{path}`",
                f"name the folder that holds {', '.join(names)}" if folder else source.install,
            )
    return paths, {**about, "identity": f"sha256:{sha256(paths[0])}"}
