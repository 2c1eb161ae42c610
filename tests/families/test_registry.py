"""The registry: names without imports, plugins, and what a folder is."""

import json
import subprocess
import sys
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest

from mamtra_cli.errors import CheckpointError, ModelNotFoundError
from mamtra_cli.families import registry


def test_names_import_no_model_code() -> None:
    code = (
        "import sys; from mamtra_cli.families import registry; registry.names();"
        "assert 'torch' not in sys.modules and 'mamtra_cli.families.base' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_unknown_family_names_the_nearest() -> None:
    with pytest.raises(CheckpointError) as caught:
        registry.family("cosyvoice")
    assert caught.value.hint == "did you mean `cosyvoice2`?"


def test_plugin_families_are_found_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = EntryPoint("other", "other_package:FAMILY", registry.GROUP)
    broken = EntryPoint("broken", "no_such_package:FAMILY", registry.GROUP)
    monkeypatch.setattr(metadata, "entry_points", lambda group: [plugin, broken])
    monkeypatch.setitem(sys.modules, "other_package", SimpleNamespace(FAMILY="it"))  # type: ignore[misc]
    registry.family.cache_clear()
    try:
        assert registry.names() == (*registry.BUILT_IN, "other", "broken")
        assert registry.family("other") == "it"  # type: ignore[comparison-overlap]
        with pytest.raises(CheckpointError, match="no_such_package"):
            registry.family("broken")
    finally:
        registry.family.cache_clear()


def test_folder_of_no_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no model folder"):
        registry.open_model(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelNotFoundError, match="no model folder"):
        registry.open_model(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"format_version": 1, "family": "nothing", "config": {}}, "no model family `nothing`"),
        ({"format_version": 1, "family": "cosyvoice2", "config": {"lmm": {}}}, "unknown key `lmm`"),
    ],
    ids=["family", "key"],
)
def test_config_that_does_not_fit_is_a_checkpoint_error(
    tmp_path: Path, config: dict[str, object], message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        registry.open_model(tmp_path)
