"""Nothing that a plain install brings along is under the GPL; espeak and its kin are not in it."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
GPL = re.compile(r"(?<!L)\bA?GPL|GNU (Affero )?General Public")


def licence(distribution: metadata.Distribution) -> str:
    """What a distribution says of its licence, in one line."""
    told = distribution.metadata
    words = [told.get("License-Expression") or "", (told.get("License") or "").split("\n")[0]]
    words += [one for one in told.get_all("Classifier") or [] if one.startswith("License")]
    return " | ".join(words)


def brought_along() -> dict[str, str]:
    """Licences of all that the project's dependencies need, by name."""
    waiting = [
        Requirement(one) for one in tomllib.loads(PROJECT.read_text())["project"]["dependencies"]
    ]
    found: dict[str, str] = {}
    while waiting:
        one = waiting.pop()
        name = re.sub(r"[-_.]+", "-", one.name).lower()
        if name in found or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        distribution = metadata.distribution(name)
        found[name] = licence(distribution)
        waiting += [Requirement(needed) for needed in distribution.requires or []]
    return found


def test_no_gpl_package_comes_along() -> None:
    licences = brought_along()
    assert {"torch", "numpy", "soxr"} <= set(licences)
    assert not {name: told for name, told in licences.items() if GPL.search(told)}
    assert not set(licences) & {"phonemizer", "phonemizer-fork", "espeakng-loader", "misaki"}


def test_the_lesser_licence_is_told_apart() -> None:
    assert GPL.search("GPL-3.0-or-later")
    assert GPL.search("License :: OSI Approved :: GNU General Public License v3 (GPLv3)")
    assert not GPL.search("LGPL-2.1-or-later")
    assert not GPL.search("GNU Lesser General Public License")
